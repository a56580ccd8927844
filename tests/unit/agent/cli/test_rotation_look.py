"""What `status` and `doctor` tell of a rotation, from its journal in a real Vault."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from agent.cli import rotation_look
from agent.cli.rotation_look import RotationLook, rotation_lines, rotation_report
from agent.rotation.journal import Journal, encode
from agent.source.rights import surplus, vault_policy
from agent.source.vault import VaultSource
from lab.vault import Vault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.settings import Settings

pytestmark = pytest.mark.process

PATH = "secret/data/rotations/lms"
FIRST = Journal(
    rotation="r1", secret="secret/data/lms", old="0" * 12, quiet_seconds=1, since=0
)


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        yield running


@pytest.fixture
def look(settings: Callable[..., Settings], vault: Vault) -> Iterator[RotationLook]:
    made = RotationLook(
        settings(vault_addr=vault.address, vault_token=vault.token, rotation_path=PATH)
    )
    yield made
    made.close()
    vault.delete("rotations/lms")


def test_each_state_of_a_rotation_is_told(vault: Vault, look: RotationLook) -> None:
    """Who carries it on, or what to type; the same look sees what has changed."""
    now = time.time()

    def told(**news: Any) -> tuple[str, ...]:
        vault.write("rotations/lms", journal=encode(replace(FIRST, **news)))
        return rotation_lines(look.report())

    assert rotation_lines(look.report()) == ()
    head = "rotation r1 of secret/data/lms is"
    ours: Any = {"holder": "job pid 7", "until": now + 60}
    assert told(phase="written", waits="2 pods", **ours) == (
        f"{head} written: 2 pods (job pid 7)",
    )
    left, following = told(phase="written", holder="job pid 7", until=now - 1)
    assert (
        left
        == f"{head} written, and no process carries it on: nothing is retired by itself"
    )
    assert "rotate --resume" in following
    held, following = told(phase="written", held="no answer", **ours)
    assert held == f"{head} written, and held: no answer"
    assert "rotate --resume" in following
    assert told(phase="done") == (f"{head} done, since 1970-01-01T00:00:00Z",)


def test_a_journal_that_cannot_be_read_is_unknown(
    vault: Vault, look: RotationLook
) -> None:
    """It is no rotation that has ended; and once Vault answers again it is read."""
    vault.write("rotations/lms", journal="{}")
    report = look.report()
    assert report is not None
    assert "is no journal" in report.error
    line, following = rotation_lines(report)
    assert "a path for rotations alone" in following
    assert line.startswith("rotation: its journal cannot be read: ")
    vault.write("rotations/lms", journal=encode(FIRST))
    report = look.report()
    assert report is not None
    assert (report.rotation, report.error) == ("r1", "")


def test_a_vault_that_hangs_keeps_nobody_waiting(
    vault: Vault, look: RotationLook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`status` is for the time of an outage, too; a pass would wait for longer."""
    monkeypatch.setattr(rotation_look, "SECONDS", 0.5)
    vault.pause()
    try:
        report = look.report()
    finally:
        vault.resume()
    assert report is not None
    assert report.error.startswith("no answer from Vault in the time")


def test_without_a_path_nothing_is_asked(settings: Callable[..., Settings]) -> None:
    """No setting, no question."""
    look = RotationLook(settings())
    assert look.report() is None
    assert rotation_lines(None) == ()


def test_a_journal_that_the_token_may_not_read_has_a_next_step(
    vault: Vault, settings: Callable[..., Settings]
) -> None:
    """The policy that `check` prints is enough for the look, and has no right to write."""
    path = "secret/data/rotations/rights"
    given: Any = {"vault_addr": vault.address, "rotation_path": path}
    denied = settings(
        **given, vault_token=vault.policy_token('path "x" { capabilities = ["read"] }')
    )
    line, following = rotation_lines(rotation_report(denied))
    assert "denies access" in line
    assert "check --policy" in following
    assert "RESENTRY_ROTATION_PATH" in following
    full = settings(**given, vault_token=vault.token, vault_paths=("secret/data/lms",))
    with contextlib.closing(VaultSource(full, "tests")) as source:
        policy = vault_policy(full, source)
    assert (
        f'#   path "{path}" {{ capabilities = ["create", "read", "update"] }}' in policy
    )
    assert '#   path "secret/data/lms" { capabilities = ["read", "update"] }' in policy
    allowed = settings(**given, vault_token=vault.policy_token(policy))
    report = rotation_report(allowed)
    assert report is not None
    assert report.error == ""
    with contextlib.closing(VaultSource(allowed, "tests")) as source:
        source.log_in()
        assert surplus(source, ("secret/data/lms", path)) == ()
