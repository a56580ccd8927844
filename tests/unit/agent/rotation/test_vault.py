"""Journal and DSN in a real Vault: nothing that somebody else wrote is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import SettingsError, SourceDenied
from agent.rotation.journal import Journal, JournalUnreadable, encode
from agent.rotation.parts import SecretChanged
from agent.rotation.vault import DsnSecret, JournalFile
from agent.source.vault import VaultSource
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.settings import Settings

pytestmark = pytest.mark.vault

OLD, NEW = "https://old@sentry.example.org/1", "https://new@sentry.example.org/1"
JOURNAL = Journal(
    rotation="r1", secret="secret/data/lms", old="0" * 12, quiet_seconds=1.0, since=1.0
)


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        running.client.sys.enable_secrets_engine("kv", "kv1", options={"version": "1"})
        yield running


@pytest.fixture
def source(settings: Callable[..., Settings], vault: Vault) -> VaultSource:
    made = settings(
        vault_addr=vault.address,
        vault_token=vault.token,
        vault_paths=("secret/data/lms",),
    )
    return VaultSource(made, "tests")


def held(vault: Vault, path: str) -> dict[str, Any]:
    answer = vault.client.read(f"secret/data/{path}")
    return dict(answer["data"]["data"])


def test_only_the_dsn_is_replaced(vault: Vault, source: VaultSource) -> None:
    """Whatever else the secret holds, in whatever type, stays as it is."""
    others = {"SENTRY_TRACES_SAMPLE_RATE": 0.1, "theirs": {"deep": [1, None]}, "n": 1}
    version = vault.write("lms", {"SENTRY_DSN": OLD, **others})
    secret = DsnSecret(source, "secret/data/lms")
    assert secret.read() == (OLD, version)
    assert secret.write(NEW, version) == version + 1
    assert held(vault, "lms") == {"SENTRY_DSN": NEW, **others}
    assert secret.read(version) == (OLD, version)


@pytest.mark.parametrize("as_text", [True, False])
def test_one_roles_dsn_is_replaced(
    vault: Vault, source: VaultSource, *, as_text: bool
) -> None:
    """In the form in which the roles stand there."""

    def roles(dsn: str) -> object:
        made = {"api": {"SENTRY_DSN": dsn, "SENTRY_SAMPLE_RATE": 1}, "celery": {}}
        return json.dumps(made) if as_text else made

    version = vault.write("roles", {"SENTRY_DSN": OLD, "RESENTRY_ROLES": roles(OLD)})
    secret = DsnSecret(source, "secret/roles", "api")
    assert secret.read() == (OLD, version)
    secret.write(NEW, version)
    assert held(vault, "roles") == {"SENTRY_DSN": OLD, "RESENTRY_ROLES": roles(NEW)}
    assert DsnSecret(source, "secret/roles", "celery").read().dsn == ""


def test_a_secret_of_the_dsn_alone(vault: Vault, source: VaultSource) -> None:
    """Its one field keeps its name."""
    version = vault.write("one/SENTRY_DSN", value=OLD)
    secret = DsnSecret(source, "secret/one/SENTRY_DSN")
    assert secret.read() == (OLD, version)
    secret.write(NEW, version)
    assert held(vault, "one/SENTRY_DSN") == {"value": NEW}


def test_what_somebody_wrote_meanwhile_stays(vault: Vault, source: VaultSource) -> None:
    """Before the read of the writer, and between its read and its write."""
    version = vault.write("busy", {"SENTRY_DSN": OLD})
    secret = DsnSecret(source, "secret/data/busy")
    vault.write("busy", {"SENTRY_DSN": OLD, "more": "1"})
    with pytest.raises(SecretChanged):
        secret.write(NEW, version)
    with pytest.raises(SecretChanged):
        secret.put({"SENTRY_DSN": NEW}, version)
    assert held(vault, "busy") == {"SENTRY_DSN": OLD, "more": "1"}


def test_the_first_journal_has_one_writer(vault: Vault, source: VaultSource) -> None:
    """A path at which nothing stands has version 0."""
    ours = JournalFile(source, "secret/data/rotations/lms")
    assert ours.load() == (None, 0)
    assert ours.save(JOURNAL, 0) == 1
    with pytest.raises(SecretChanged):
        JournalFile(source, "secret/data/rotations/lms").save(JOURNAL, 0)
    assert ours.load() == (JOURNAL, 1)

    assert ours.lifetime() == ""
    vault.forget("rotations/lms")
    assert ours.load() == (None, 0)
    assert ours.lifetime() == ""


def test_a_journal_that_was_deleted_is_no_rotation_that_has_ended(
    vault: Vault, source: VaultSource
) -> None:
    """By a person, or by Vault itself: the rotation goes on when it is restored."""
    ours = JournalFile(source, "secret/data/rotations/gone")
    ours.save(JOURNAL, 0)
    kv = vault.client.secrets.kv.v2
    kv.update_metadata("rotations/gone", 3, delete_version_after="1h")
    assert ours.kept() == 3
    assert ours.lifetime() == "1h0m0s"
    vault.delete("rotations/gone")
    with pytest.raises(JournalUnreadable) as raised:
        ours.load()
    assert "undelete -versions=1" in raised.value.hint
    kv.undelete_secret_versions("rotations/gone", [1])
    assert ours.load() == (JOURNAL, 1)


def test_another_secret_is_not_overwritten(vault: Vault, source: VaultSource) -> None:
    """Somebody gave its path as that of the journal."""
    for others in ({"password": "x"}, {"journal": encode(JOURNAL), "user": "y"}):
        vault.write("db", others)
        with pytest.raises(JournalUnreadable, match="something else"):
            JournalFile(source, "secret/data/db").load()


def test_what_is_no_journal_is_not_overwritten(
    vault: Vault, source: VaultSource
) -> None:
    """Somebody gave the path of another secret, or a newer version wrote it."""
    for text in ("{}", "no", json.dumps({"schema": 2}), "[" * 5000):
        vault.write("other", journal=text)
        with pytest.raises(JournalUnreadable) as raised:
            JournalFile(source, "secret/data/other").load()
        assert "no journal" in raised.value.what


def test_version_1_and_pins_are_refused(source: VaultSource) -> None:
    """They have no check-and-set, or never change."""
    for path in ("kv1/lms", "secret/data/lms?version=1"):
        with pytest.raises(SettingsError, match="KV version 2"):
            DsnSecret(source, path)


def test_a_token_that_may_not_write_is_told(
    vault: Vault, settings: Callable[..., Settings]
) -> None:
    """It is no lost race: the version is the one that was read."""
    version = vault.write("guarded", {"SENTRY_DSN": OLD})
    token = vault.policy_token('path "secret/data/guarded" {capabilities = ["read"]}')
    made = settings(
        vault_addr=vault.address,
        vault_token=token,
        vault_paths=("secret/data/guarded",),
        vault_kv_version="2",
    )
    secret = DsnSecret(VaultSource(made, "tests"), "secret/data/guarded")
    with pytest.raises(SourceDenied):
        secret.write(NEW, version)
