"""What each way to log in needs, reads and sends; how a secret id is unwrapped."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from agent.errors import AgentError, SourceDenied, SourceDown, SourceMissing
from agent.source.login import METHODS, Credentials, Login, missing, mount, token

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.settings import Settings

    Make = Callable[..., Settings]

WRAP_PATH = "auth/approle/role/lms/secret-id"
APPROLE = {"vault_auth": "approle", "vault_role_id": "role"}
WRAPPED = APPROLE | {
    "vault_secret_id": "wrapping",
    "vault_secret_id_wrap_path": WRAP_PATH,
}


class Vault:
    """Stands for `Api`: answers as it is told, and notes with which token."""

    def __init__(self, **answers: Any) -> None:
        self.token = "own"
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.answers = {
            "login": {"auth": {"client_token": "new"}},
            "lookup": {"data": {"creation_path": WRAP_PATH}},
            "unwrap": {"data": {"secret_id": "unwrapped"}},
            **answers,
        }

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        self.asked.append((name, self.token, body))
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        found: dict[str, Any] = answer
        return found


@pytest.fixture
def credentials(settings: Make) -> Callable[..., Credentials]:
    def make(vault: Vault, **values: Any) -> Credentials:
        return Credentials(settings(**values), vault)  # type: ignore[arg-type]

    return make


def signed(**claims: Any) -> str:
    return jwt.encode(claims, "a key that is long enough for HMAC, as asked", "HS256")


def logged_in(credentials: Credentials) -> dict[str, Any]:
    """Log in with what stands there now."""
    return credentials.log_in(credentials.read())


@pytest.mark.parametrize(
    ("values", "file", "content", "expected"),
    [
        (
            {"vault_auth": "kubernetes", "vault_role": "lms"},
            "vault_jwt_file",
            " a.b.c\n",
            Login("login", {"jwt": "a.b.c", "role": "lms"}),
        ),
        (
            {"vault_auth": "jwt"},
            "vault_jwt_file",
            "a.b.c",
            Login("login", {"jwt": "a.b.c"}),
        ),
        (
            APPROLE,
            "vault_secret_id_file",
            "secret\n",
            Login("login", {"role_id": "role", "secret_id": "secret"}),
        ),
        (
            APPROLE | {"vault_secret_id": "by value"},
            None,
            "",
            Login("login", {"role_id": "role", "secret_id": "by value"}),
        ),
        (APPROLE, None, "", Login("login", {"role_id": "role"})),
        (
            {"vault_auth": "cert", "vault_role": "lms"},
            "vault_client_cert",
            "PEM\n",
            Login("login", {"name": "lms"}, "PEM"),
        ),
        ({"vault_auth": "cert"}, "vault_client_cert", "PEM", Login("login", {}, "PEM")),
        (
            {"vault_auth": "userpass", "vault_username": "lms"},
            "vault_password_file",
            " with spaces \r\n",
            Login("login/lms", {"password": " with spaces "}),
        ),
        (
            {
                "vault_auth": "userpass",
                "vault_username": "lms",
                "vault_password": "by value",
            },
            None,
            "",
            Login("login/lms", {"password": "by value"}),
        ),
    ],
)
def test_each_login_carries_what_stands_there_now(
    credentials: Callable[..., Credentials],
    tmp_path: Path,
    values: dict[str, Any],
    file: str | None,
    content: str,
    expected: Login,
) -> None:
    """Files are read anew, without the newline that an editor adds."""
    path = tmp_path / "credential"
    path.write_text("an older one")
    if file is not None:
        values = values | {file: str(path)}
    made = credentials(Vault(), **values)
    made.read()
    path.write_text(content)
    assert expected == made.read()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["RESENTRY_VAULT_TOKEN_FILE or RESENTRY_VAULT_TOKEN"]),
        ({"vault_auth": "none"}, []),
        ({"vault_auth": "kubernetes"}, ["RESENTRY_VAULT_ROLE"]),
        ({"vault_auth": "jwt"}, ["RESENTRY_VAULT_JWT_FILE"]),
        ({"vault_auth": "approle"}, ["RESENTRY_VAULT_ROLE_ID"]),
        (
            APPROLE | {"vault_secret_id_wrap_path": WRAP_PATH},
            ["RESENTRY_VAULT_SECRET_ID_FILE or RESENTRY_VAULT_SECRET_ID"],
        ),
        ({"vault_auth": "cert"}, ["RESENTRY_VAULT_CLIENT_CERT"]),
        (
            {"vault_auth": "userpass"},
            [
                "RESENTRY_VAULT_USERNAME",
                "RESENTRY_VAULT_PASSWORD_FILE or RESENTRY_VAULT_PASSWORD",
            ],
        ),
        (APPROLE, []),
    ],
)
def test_what_a_login_cannot_do_without_is_named(
    settings: Make, values: dict[str, Any], expected: list[str]
) -> None:
    """Before anything is asked, and all of it at once."""
    assert expected == missing(settings(vault_token="", **values))


@pytest.mark.parametrize(
    ("at", "expected"),
    [("", "auth/jwt"), ("k8s/eu", "auth/k8s/eu"), ("/ci/", "auth/ci")],
)
def test_a_method_is_mounted_at_its_own_name_or_where_it_is_said(
    settings: Make, at: str, expected: str
) -> None:
    """Slashes around it are no matter."""
    assert expected == mount(settings(vault_auth="jwt", vault_auth_mount=at))


@pytest.mark.parametrize("audience", ["vault", ["other", "vault"]])
def test_a_jwt_for_the_wanted_audience_is_sent(
    credentials: Callable[..., Credentials], tmp_path: Path, audience: object
) -> None:
    """One audience or several, as the JWT has it."""
    path = tmp_path / "jwt"
    path.write_text(signed(aud=audience))
    made = credentials(
        Vault(),
        vault_auth="kubernetes",
        vault_role="lms",
        vault_audience="vault",
        vault_jwt_file=str(path),
    )
    assert made.read().body["jwt"] == path.read_text()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            signed(aud=["https://kubernetes.default.svc"], sub="planted"),
            "is for the audience https://kubernetes.default.svc, not vault",
        ),
        (signed(sub="planted"), "is for the audience none"),
        (signed(aud=None), "is for the audience none"),
        ("planted", "is for the audience none"),
        ("a.%%%.c", "is for the audience none"),
        ("a.b.c", "is for the audience none"),
        ("a.W10.c", "is for the audience none"),
        ("a." + "W1tb" * 10_000 + ".c", "is for the audience none"),
    ],
)
def test_a_jwt_for_somebody_else_is_never_sent(
    credentials: Callable[..., Credentials], tmp_path: Path, content: str, says: str
) -> None:
    """Whoever gets one for the API server can act as the pod there."""
    path = tmp_path / "jwt"
    path.write_text(content)
    made = credentials(
        Vault(),
        vault_auth="jwt",
        vault_audience="vault",
        vault_jwt_file=str(path),
    )
    with pytest.raises(SourceDenied, match=says) as caught:
        made.read()
    assert "planted" not in caught.value.what + caught.value.hint


@pytest.mark.parametrize(
    ("values", "file"),
    [
        ({"vault_auth": "jwt"}, "vault_jwt_file"),
        (APPROLE, "vault_secret_id_file"),
        ({"vault_auth": "userpass", "vault_username": "u"}, "vault_password_file"),
        ({"vault_auth": "cert"}, "vault_client_cert"),
    ],
)
@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"], ids=repr)
def test_a_credential_file_that_holds_none_is_named(
    credentials: Callable[..., Credentials],
    tmp_path: Path,
    values: dict[str, Any],
    file: str,
    content: bytes | None,
) -> None:
    """The file and its setting, so that both can be checked."""
    path = tmp_path / "credential"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceDenied, match=str(path)) as caught:
        credentials(Vault(), **values, **{file: str(path)}).read()
    assert caught.value.hint == f"check RESENTRY_{file.upper()}"


def test_a_credential_file_that_is_a_fifo_hangs_nothing(
    settings: Make, tmp_path: Path
) -> None:
    """Nobody may ever write into it, and no deadline ends such a wait."""
    path = tmp_path / "token"
    os.mkfifo(path)
    with pytest.raises(SourceDenied, match="not a regular file"):
        token(settings(vault_token_file=str(path)))


def test_a_file_stands_above_a_value(settings: Make, tmp_path: Path) -> None:
    """It is the one of the two that can change."""
    path = tmp_path / "token"
    path.write_text("of the file\n")
    assert token(settings(vault_token="of the setting")) == "of the setting"
    made = settings(vault_token="of the setting", vault_token_file=str(path))
    assert token(made) == "of the file"


def test_a_login_is_made_without_a_token(
    credentials: Callable[..., Credentials],
) -> None:
    """The token before stays for whoever asked, whatever comes of it."""
    for vault in (
        Vault(),
        Vault(login=SourceDenied("no")),
        Vault(lookup=SourceDown("")),
    ):
        made = credentials(vault, **WRAPPED)
        try:
            assert logged_in(made) == {"client_token": "new"}
        except AgentError:
            assert vault.asked[-1][0] != "unwrap"
        assert {"", "wrapping"} >= {sent for _, sent, _ in vault.asked}
        assert vault.token == "own"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("error", [SourceDenied("x"), SourceMissing("x")])
def test_a_refused_login_says_what_to_check(
    credentials: Callable[..., Credentials],
    method: str,
    error: AgentError,
) -> None:
    """The mount and the method; a mount that is not there is refused like a secret."""
    made = credentials(Vault(login=error), vault_auth=method, vault_auth_mount="there")
    with pytest.raises(SourceDenied, match="denies the login at auth/there") as caught:
        made.log_in(Login("login", {"jwt": "planted"}))
    assert f"check that {method} is enabled at this path" in caught.value.hint
    assert METHODS[method].check in caught.value.hint
    assert "planted" not in caught.value.hint


def test_a_login_without_an_answer_is_not_refused(
    credentials: Callable[..., Credentials],
) -> None:
    """It is tried again soon."""
    away = SourceDown("away")
    for vault in (Vault(login=away), Vault(lookup=away), Vault(unwrap=away)):
        with pytest.raises(SourceDown) as caught:
            logged_in(credentials(vault, **WRAPPED))
        assert caught.value is away


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"auth": None},
        {"auth": {"client_token": "", "mfa_requirement": {"mfa_request_id": "1"}}},
        {"auth": None, "wrap_info": {"token": "planted"}},
    ],
    ids=repr,
)
def test_a_login_that_gives_no_token_is_refused(
    credentials: Callable[..., Credentials], answer: dict[str, Any]
) -> None:
    """A second factor, or an answer that was wrapped on the way."""
    made = credentials(Vault(login=answer), **APPROLE)
    with pytest.raises(SourceDenied, match="gave no token") as caught:
        logged_in(made)
    assert "planted" not in caught.value.what + caught.value.hint


def test_a_wrapped_secret_id_is_unwrapped_once(
    credentials: Callable[..., Credentials],
) -> None:
    """Its origin is checked first; later logins use what was in it."""
    vault = Vault()
    made = credentials(vault, **WRAPPED)
    for _ in range(3):
        logged_in(made)
    login = ("login", "", {"role_id": "role", "secret_id": "unwrapped"})
    assert vault.asked == [
        ("lookup", "", {"token": "wrapping"}),
        ("unwrap", "wrapping", {}),
        login,
        login,
        login,
    ]


def test_another_wrapping_token_is_unwrapped_anew(
    credentials: Callable[..., Credentials], tmp_path: Path
) -> None:
    """A new one in the file replaces what was in the old one."""
    path = tmp_path / "wrapped"
    vault = Vault()
    made = credentials(
        vault, **(WRAPPED | {"vault_secret_id_file": str(path), "vault_secret_id": ""})
    )
    for content in ("first", "second"):
        path.write_text(content)
        logged_in(made)
    assert [sent for name, sent, _ in vault.asked if name == "unwrap"] == [
        "first",
        "second",
    ]


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            {"lookup": {"data": {"creation_path": "sys/wrapping/wrap"}}},
            "was not made at",
        ),
        ({"lookup": {"data": None}}, "was not made at"),
        ({"lookup": SourceDenied("x")}, "was unwrapped already, or has expired"),
        ({"unwrap": SourceDenied("x")}, "was unwrapped already, or has expired"),
    ],
)
def test_a_wrapping_token_that_may_be_stolen_is_told(
    credentials: Callable[..., Credentials], answers: dict[str, Any], says: str
) -> None:
    """One that was used, or that another path made, is a reason to look for a thief."""
    vault = Vault(**answers)
    with pytest.raises(SourceDenied, match=says) as caught:
        logged_in(credentials(vault, **WRAPPED))
    assert "somebody" in caught.value.hint
    assert "login" not in [name for name, _, _ in vault.asked]
