"""Vault as a source: where secrets are, what a token file may hold, what errors mean.

What a real Vault answers to a pass is tested in tests/e2e and tests/faults.
"""

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hvac.exceptions
import pytest
import requests

from agent.errors import (
    AgentError,
    CandidateRefused,
    SettingsError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.settings import Settings
from agent.source.kv import Location, _only_value
from agent.source.vault import VaultSource
from lab.vault import Vault

TOKEN = "hvs.CAESIJplantedVaultToken0123456789abcdefghijkl"
Make = Callable[..., Settings]


@pytest.fixture(scope="session")
def vault() -> Iterator[Vault]:
    """A real one, with KV version 2 at `secret/` and version 1 at `kv1/` and `a/b/`."""
    with Vault() as running:
        for path in ("kv1", "a/b"):
            running.client.sys.enable_secrets_engine(
                "kv", path, options={"version": "1"}
            )
        running.client.secrets.kv.v1.create_or_update_secret(
            "lms", {"SENTRY_SAMPLE_RATE": "0.5"}, mount_point="kv1"
        )
        running.write("lms", {"SENTRY_TRACES_SAMPLE_RATE": "0.1"})
        running.write("lms/SENTRY_DSN", value="https://k@host/1")
        yield running


@pytest.fixture
def source(settings: Make) -> Callable[..., VaultSource]:
    def make(**values: Any) -> VaultSource:
        return VaultSource(settings(**values), "tests", wait=lambda _seconds: None)

    return make


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("secret/data/lms", Location("secret/data/lms", None, 2)),
        ("secret/lms", Location("secret/data/lms", None, 2)),
        ("/v1/secret/data/lms/", Location("secret/data/lms", None, 2)),
        (
            "secret/data/lms/SENTRY_DSN",
            Location("secret/data/lms/SENTRY_DSN", "SENTRY_DSN", 2),
        ),
        (
            "secret/lms/RESENTRY_RULES",
            Location("secret/data/lms/RESENTRY_RULES", "RESENTRY_RULES", 2),
        ),
        ("secret/lms/SENTRY_DNS", Location("secret/data/lms/SENTRY_DNS", None, 2)),
        ("kv1/lms", Location("kv1/lms", None, 1)),
        ("kv1/data/lms", Location("kv1/data/lms", None, 1)),
        ("a/b/c", Location("a/b/c", None, 1)),
    ],
)
def test_a_path_is_located_at_a_real_vault(
    vault: Vault, source: Callable[..., VaultSource], path: str, expected: Location
) -> None:
    """API and logical paths, deep mounts, both versions and single keys are told apart."""
    found = source(vault_addr=vault.address, vault_paths=(path,))
    found.log_in()
    assert expected == found.locate(path)


@pytest.mark.parametrize(
    ("version", "path", "expected"),
    [
        ("2", "kv/lms", Location("kv/data/lms", None, 2)),
        ("2", "kv/data/lms", Location("kv/data/lms", None, 2)),
        ("1", "kv/lms", Location("kv/lms", None, 1)),
    ],
)
def test_a_set_version_asks_nobody(
    source: Callable[..., VaultSource], version: str, path: str, expected: Location
) -> None:
    """With `RESENTRY_VAULT_KV_VERSION` no request is needed: none could be answered."""
    assert expected == source(vault_kv_version=version).locate(path)


def test_several_secrets_make_one_candidate(
    vault: Vault, source: Callable[..., VaultSource]
) -> None:
    """Values of both versions and of a single key stand together, with their origins."""
    paths = ("secret/lms", "secret/data/lms/SENTRY_DSN", "kv1/lms")
    candidate = source(vault_addr=vault.address, vault_paths=paths).read()
    assert candidate.values == {
        "SENTRY_TRACES_SAMPLE_RATE": "0.1",
        "SENTRY_DSN": "https://k@host/1",
        "SENTRY_SAMPLE_RATE": "0.5",
    }
    assert candidate.provenance["SENTRY_DSN"] == {
        "source": "vault",
        "path": "secret/data/lms/SENTRY_DSN",
        "version": 1,
    }
    assert candidate.provenance["SENTRY_SAMPLE_RATE"] == {
        "source": "vault",
        "path": "kv1/lms",
    }


def test_the_environment_s_token_is_never_used(
    vault: Vault,
    source: Callable[..., VaultSource],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither `VAULT_TOKEN` nor `~/.vault-token` stands in for a token that is wrong."""
    monkeypatch.setenv("VAULT_TOKEN", vault.token)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".vault-token").write_text(vault.token)
    with pytest.raises(SourceDenied):
        source(vault_addr=vault.address, vault_token="wrong").read()


LOCATION = Location("secret/data/lms/SENTRY_DSN", "SENTRY_DSN", 2)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ({"SENTRY_DSN": "a", "value": "b", "other": "c"}, "a"),
        ({"value": "b", "other": "c"}, "b"),
        ({"other": "c"}, "c"),
        ({"SENTRY_DSN": ""}, ""),
        ({"value": None}, None),
    ],
    ids=repr,
)
def test_a_secret_of_one_key_holds_it_under_three_names(
    held: dict[str, Any], expected: object
) -> None:
    """In a field named like it, else `value`, else its only field."""
    assert expected == _only_value(held, LOCATION)


@pytest.mark.parametrize("held", [{}, {"a": TOKEN, "b": TOKEN}], ids=["none", "two"])
def test_a_secret_of_one_key_with_other_fields_is_missing(
    held: dict[str, Any],
) -> None:
    """The agent does not guess, and does not quote."""
    with pytest.raises(SourceMissing, match="holds neither SENTRY_DSN nor value") as it:
        _only_value(held, LOCATION)
    assert TOKEN not in it.value.what + it.value.hint


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"a\nb", b"a\x00b", b"\xff\xfe", "tokén…".encode()], ids=repr
)
def test_a_token_file_with_something_else_is_refused(
    source: Callable[..., VaultSource], tmp_path: Path, body: bytes
) -> None:
    """What is no token is refused before Vault is asked, without a quote."""
    path = tmp_path / "token"
    path.write_bytes(body)
    with pytest.raises(SourceDenied) as caught:
        source(vault_token_file=str(path)).log_in()
    assert str(path) in caught.value.what
    assert "tok" not in caught.value.what.replace(str(path), "").replace(
        "Vault token", ""
    )


@pytest.mark.parametrize("kind", ["missing", "directory"])
def test_a_token_file_that_cannot_be_read_is_denied(
    source: Callable[..., VaultSource], tmp_path: Path, kind: str
) -> None:
    """The reason and the setting to check are named; the next pass tries again."""
    path = tmp_path / "token"
    if kind == "directory":
        path.mkdir()
    reading = source(vault_token_file=str(path))
    with pytest.raises(SourceDenied, match=f"cannot read {path}") as caught:
        reading.log_in()
    assert "RESENTRY_VAULT_TOKEN_FILE" in caught.value.hint


def test_a_token_file_is_read_anew_each_time(
    vault: Vault, source: Callable[..., VaultSource], tmp_path: Path
) -> None:
    """A renewed token is used at the next pass, with white space cut off."""
    path = tmp_path / "token"
    reading = source(vault_addr=vault.address, vault_token_file=str(path))
    for token in ("first", "second"):
        path.write_text(f" {token}\n")
        reading.log_in()
        assert token == reading.api.token


@pytest.mark.parametrize(
    ("unset", "named"),
    [
        ({"vault_addr": ""}, ["RESENTRY_VAULT_ADDR"]),
        ({"vault_paths": ""}, ["RESENTRY_VAULT_PATHS"]),
        ({"vault_token": ""}, ["RESENTRY_VAULT_TOKEN_FILE"]),
        (
            {"vault_addr": "", "vault_paths": "", "vault_token": ""},
            [
                "RESENTRY_VAULT_ADDR",
                "RESENTRY_VAULT_PATHS",
                "RESENTRY_VAULT_TOKEN_FILE",
            ],
        ),
    ],
)
def test_what_vault_needs_is_required_at_once(
    source: Callable[..., VaultSource], unset: dict[str, str], named: list[str]
) -> None:
    """All that is not set is named in one error, with an example."""
    with pytest.raises(SettingsError) as caught:
        source(**unset)
    assert [name for name in named if name in caught.value.what] == named
    assert "for example" in caught.value.hint


def _subclasses(module: Any, root: type) -> list[type]:
    found = (each for _, each in inspect.getmembers(module, inspect.isclass))
    return [each for each in found if issubclass(each, root)]


VAULT_ERRORS = _subclasses(hvac.exceptions, hvac.exceptions.VaultError)
REQUEST_ERRORS = _subclasses(requests.exceptions, requests.RequestException)
EXPECTED = {
    "TooLargeError": CandidateRefused,
    "Forbidden": SourceDenied,
    "Unauthorized": SourceDenied,
    "InvalidPath": SourceMissing,
}


def failing(source: VaultSource, error: Exception) -> VaultSource:
    """Let the source's requests fail with that error, instead of at a server."""

    def request(*_args: object, **_more: object) -> None:
        raise error

    source.api.client.adapter.request = request
    return source


def answering(source: VaultSource, status: int, body: bytes) -> VaultSource:
    """Let every request of the source be answered so."""
    response = requests.Response()
    response.status_code, response._content = status, body
    source.api.client.adapter.request = lambda *_args, **_more: response
    return source


@pytest.mark.parametrize("kind", [*VAULT_ERRORS, *REQUEST_ERRORS])
def test_every_error_of_hvac_and_requests_is_one_of_ours(
    source: Callable[..., VaultSource], kind: type
) -> None:
    """No class of theirs gets through, nor does any text of theirs."""
    more = ("", 0) if kind is requests.exceptions.JSONDecodeError else ()
    asked = source(vault_auth="none", vault_kv_version="2")
    with pytest.raises(AgentError) as caught:
        failing(asked, kind(TOKEN, *more)).read()
    assert EXPECTED.get(kind.__name__, SourceDown) is type(caught.value)
    assert TOKEN not in caught.value.what + caught.value.hint
    assert caught.value.__suppress_context__


def test_both_lists_of_errors_are_found() -> None:
    """The reflection above really walks both libraries."""
    assert len(VAULT_ERRORS) > 10
    assert len(REQUEST_ERRORS) > 15


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "there is no secret at"),
        ({}, "there is no secret at"),
        ([], "there is no secret at"),
        ({"data": None}, "there is no secret at"),
        ({"data": {"metadata": {"destroyed": True}}}, "is destroyed"),
        (
            {"data": {"metadata": {"deletion_time": "x", "destroyed": False}}},
            "is deleted",
        ),
    ],
    ids=repr,
)
def test_a_deleted_secret_is_told_from_one_that_never_was(
    source: Callable[..., VaultSource], body: Any, says: str
) -> None:
    """The deleted has metadata, and another thing has to be done about it."""
    asked = source(vault_auth="none", vault_kv_version="2")
    with pytest.raises(SourceMissing, match=says) as caught:
        answering(asked, 404, json.dumps(body).encode()).read()
    assert caught.value.hint


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize(
    "answer",
    [
        None,
        "<html>",
        {},
        {"data": None},
        {"data": []},
        {"data": "x"},
        {"data": {"data": None, "metadata": None}},
        {"data": {"data": "x"}},
    ],
    ids=repr,
)
def test_an_answer_that_is_not_vault_s_is_never_a_candidate(
    source: Callable[..., VaultSource], version: str, answer: Any
) -> None:
    """A proxy's page or half an answer keeps the last good."""
    asked = source(vault_auth="none", vault_kv_version=version)
    answering(asked, 200, json.dumps(answer).encode())
    held = answer.get("data") if isinstance(answer, dict) else None
    if version == "1" and isinstance(held, dict):
        assert held == asked.read().values
    else:
        with pytest.raises(SourceDown):
            asked.read()
