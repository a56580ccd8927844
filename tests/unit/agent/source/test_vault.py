"""Vault as a source: what it needs to know, and what a token file may hold."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import SettingsError, SourceDenied
from agent.settings import Settings
from agent.source.vault import VaultSource
from lab.vault import Vault

Make = Callable[..., Settings]


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        running.write("lms", {"SENTRY_TRACES_SAMPLE_RATE": "0.1"})
        yield running


@pytest.fixture
def source(settings: Make) -> Callable[..., VaultSource]:
    def make(**values: Any) -> VaultSource:
        return VaultSource(settings(**values), "tests", wait=lambda _seconds: None)

    return make


@pytest.mark.vault
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


@pytest.mark.parametrize("namespace", ["日本", "é"])
def test_a_namespace_that_no_header_holds_is_a_settings_error(
    source: Callable[..., VaultSource], namespace: str
) -> None:
    """Said at once, and not as an unexpected error in every pass."""
    with pytest.raises(SettingsError, match="RESENTRY_VAULT_NAMESPACE"):
        source(vault_namespace=namespace)


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
    assert "set them, as in" in caught.value.hint


@pytest.mark.parametrize(
    "address",
    [
        "vault:8200",
        "ftp://vault",
        "https://",
        "https://vault:99999",
        "https://[::1",
        "https://vault:8200?standbyok=true",
        "https://vault:8200#there",
        "https://vault:8200/v1/secret",
        "https://vault:8200/ui/",
        "unix://socket",
    ],
)
def test_an_address_is_one_of_a_server_alone(
    source: Callable[..., VaultSource], address: str
) -> None:
    """A user or a password in it would be shown, a query would spoil each path."""
    with pytest.raises(SettingsError, match="RESENTRY_VAULT_ADDR must be") as caught:
        source(vault_addr=address)
    assert address not in caught.value.what


@pytest.mark.parametrize(
    "address",
    [
        "https://vault",
        "https://vault_1.example.org.:8200",
        "https://väult.example",
        "HTTPS://vault:8200/",
        "http://[::1]:8200/behind",
        "http://[fe80::1%eth0]:8200",
        "unix:///a/b",
    ],
)
def test_an_address_may_have_a_port_and_a_path(
    source: Callable[..., VaultSource], address: str
) -> None:
    """Vault may be behind something that gives it a path of its own."""
    assert source(vault_addr=address).api.session.url in (address, "http://localhost")
