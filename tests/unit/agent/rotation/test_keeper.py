"""Lock and journal in a real Vault: one holder at a time, and every end the same."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from agent.rotation.delete import delete_retired
from agent.rotation.journal import LEASE_SECONDS, Journal
from agent.rotation.keeper import TRIES_LIMIT, Keeper, RotationBusy, RotationMissing
from agent.rotation.parts import SecretChanged
from agent.rotation.vault import JournalFile
from agent.sentry_api.errors import SentryApiDown
from agent.source.vault import VaultSource
from lab.vault import Vault
from resentry.contract import fingerprint
from tests.unit.agent.rotation.world import Killed, World, dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.settings import Settings

pytestmark = pytest.mark.vault

LAST_QUESTION = 3
"""So often a step asks for all keys before it retires the old one."""
OLD, NEW = fingerprint(dsn(1)), fingerprint(dsn(2))
SECRET = "secret/data/lms"
_paths = itertools.count()


@pytest.fixture(scope="module")
def vault() -> Iterator[Vault]:
    with Vault() as running:
        yield running


@pytest.fixture
def file(settings: Callable[..., Settings], vault: Vault) -> JournalFile:
    made = settings(
        vault_addr=vault.address,
        vault_token=vault.token,
        vault_paths=("secret/data/lms",),
    )
    path = f"secret/data/rotations/{next(_paths)}"
    return JournalFile(VaultSource(made, "tests"), path)


def keeper(file: JournalFile, world: World, holder: str = "a") -> Keeper:
    return Keeper(file, world, holder, clock=lambda: world.now)


def back(journal: Journal) -> Journal:
    return replace(journal, is_aborting=True)


def first(world: World, rotation: str = "r1", old: str = OLD) -> Journal:
    return Journal(
        rotation=rotation,
        secret=SECRET,
        old=old,
        quiet_seconds=60.0,
        refused_seconds=60.0,
        since=world.now,
    )


def run(keeper: Keeper, world: World, turns: int = 200) -> Journal:
    for _ in range(turns):
        world.now += 10
        journal = keeper.turn().journal
        if journal.has_ended or journal.held:
            return journal
    pytest.fail(journal.phase)


def test_a_rotation_has_one_holder(file: JournalFile) -> None:
    """Until the holder gives the lock back, or has shown no life for a minute."""
    world = World()
    ours, theirs = keeper(file, world, "a"), keeper(file, world, "b")
    ours.begin(first(world))
    ours.turn()
    with pytest.raises(RotationBusy, match="a carries rotation r1 on"):
        theirs.take()
    with pytest.raises(RotationBusy):
        theirs.turn()
    world.now += LEASE_SECONDS + 1
    assert theirs.take().holder == "b"
    with pytest.raises(RotationBusy):
        ours.turn()
    theirs.leave()
    assert run(ours, world).phase == "done"


def test_one_rotation_at_a_time(file: JournalFile) -> None:
    """Also of the same holder, and also while the key of the last one lives."""
    world = World()
    ours = keeper(file, world)
    with pytest.raises(RotationMissing):
        ours.take()
    ours.begin(first(world))
    with pytest.raises(RotationBusy, match="rotation r1 is planned"):
        ours.begin(first(world, "r2"))
    assert run(ours, world).phase == "done"

    world.switch(world.server[0].id, is_active=True)
    with pytest.raises(RotationBusy, match="is active again"):
        ours.begin(first(world, "r2", NEW))
    world.switch(world.server[0].id, is_active=False)
    ours.begin(first(world, "r2", NEW))
    assert run(ours, world).phase == "done"
    assert [key.is_active for key in world.server] == [False, False, True]


@pytest.mark.parametrize("phase", ["planned", "quiet"])
@pytest.mark.parametrize("sleeps", [True, False])
def test_who_has_lost_the_lock_in_a_step_changes_no_key(
    file: JournalFile, phase: str, *, sleeps: bool
) -> None:
    """A laptop sleeps in the midst of a step, or a colleague's clock is fast."""
    world = World()
    ahead = 0.0 if sleeps else 2 * LEASE_SECONDS
    ours = keeper(file, world, "a")
    theirs = Keeper(file, world, "b", clock=lambda: world.now + ahead)
    ours.begin(first(world))
    while file.load()[0].phase != phase:  # type: ignore[union-attr]
        world.now += 10
        ours.turn()

    def go_back() -> None:
        world.on_all = world.on_named = lambda: None
        world.now += LEASE_SECONDS if sleeps else 0
        theirs.decide(back)
        assert run(theirs, world).phase == "aborted"

    def on_the_last_question() -> None:
        asked.append(world.now)
        if phase == "planned" or len(asked) == LAST_QUESTION:
            go_back()

    asked: list[float] = []
    world.on_all = world.on_named = on_the_last_question
    with pytest.raises(SecretChanged):
        ours.turn()
    assert [key.fingerprint for key in world.server if key.is_active] == [OLD]
    with pytest.raises(RotationMissing):
        ours.turn()


def test_each_secret_has_a_journal_of_its_own(file: JournalFile) -> None:
    """Else nobody would look whether the last key of a secret still lives."""
    world = World()
    ours = keeper(file, world)
    ours.begin(first(world))
    run(ours, world)
    with pytest.raises(RotationBusy, match=f"of rotations of {SECRET}"):
        ours.must_be_free("secret/data/other")


@pytest.mark.parametrize("is_late", [True, False])
def test_who_has_lost_the_lock_before_its_write_replaces_no_dsn(
    file: JournalFile, *, is_late: bool
) -> None:
    """The other one has gone back, and retired the key whose DSN would be written.

    Also if the lock is lost after its last look: then Vault refuses the write.
    """
    world = World()
    ours, theirs = keeper(file, world, "a"), keeper(file, world, "b")
    ours.begin(first(world))
    while not file.load()[0].version:  # type: ignore[union-attr]
        world.now += 10
        ours.turn()
    write = world.write

    def go_back() -> None:
        world.on_all, world.write = (lambda: None), write  # type: ignore[method-assign]
        world.now += LEASE_SECONDS
        theirs.decide(back)
        assert run(theirs, world).phase == "aborted"

    def written_late(text: str, after: int) -> int:
        go_back()
        return write(text, after)

    if is_late:
        world.write = written_late  # type: ignore[method-assign]
    else:
        world.on_all = go_back
    with pytest.raises(SecretChanged):
        ours.turn()
    assert [key.fingerprint for key in world.server if key.is_active] == [OLD]
    assert fingerprint(world.read().dsn) == OLD


def test_two_who_begin_at_once_make_one_rotation(file: JournalFile) -> None:
    """The second one's check-and-set fails: both had read that there is none."""
    world = World()
    ours, version = first(world), file.load()[1]
    file.save(ours, version)
    with pytest.raises(SecretChanged):
        file.save(first(world, "r2"), version)
    journal, _ = file.load()
    assert journal == ours


def test_a_held_rotation_goes_on_when_a_person_says_so(file: JournalFile) -> None:
    """By itself it never does."""
    world = World()
    world.verdicts[dsn(2)] = "rejected"
    ours = keeper(file, world)
    ours.begin(first(world))
    assert run(ours, world).held
    del world.verdicts[dsn(2)]
    assert ours.turn().journal.held
    ours.decide(lambda journal: replace(journal, held="", tries=0))
    assert run(ours, world).phase == "done"


def test_a_decision_reaches_the_holder_of_the_lock(file: JournalFile) -> None:
    """Also in the midst of its last step: the old key stays, and nobody has to wait."""
    world = World()
    ours, theirs = keeper(file, world, "a"), keeper(file, world, "b")
    ours.begin(first(world))
    while file.load()[0].phase != "quiet":  # type: ignore[union-attr]
        world.now += 10
        ours.turn()

    def decided() -> None:
        world.on_all = lambda: None
        assert theirs.decide(back).holder == "a"

    world.on_all = decided
    with pytest.raises(SecretChanged):
        ours.turn()
    with pytest.raises(RotationBusy):
        theirs.take()
    assert run(ours, world).phase == "aborted"
    assert [key.fingerprint for key in world.server if key.is_active] == [OLD]


def test_failures_that_are_not_in_a_row_hold_nothing(file: JournalFile) -> None:
    """In a phase that waits for days, an API may fail many times."""
    world = World()
    ours = keeper(file, world)
    ours.begin(first(world))
    while ours.turn().journal.phase != "written":
        world.now += 10
    world.unproven = set(world.runs)
    while ours.turn().journal.phase != "converged":
        world.now += 10

    def failing() -> None:
        raise SentryApiDown("no answer", retry_after=9)

    for _ in range(TRIES_LIMIT + 1):
        world.on_fleet = failing
        assert ours.turn().retry_after == 9
        world.on_fleet = lambda: None
        ours.turn()
    journal, _ = file.load()
    assert journal is not None
    assert (journal.phase, journal.held, journal.tries) == ("converged", "", 0)


@pytest.mark.parametrize("phase", ["created", "written", "drained", "retired"])
def test_another_one_resumes_or_aborts(file: JournalFile, phase: str) -> None:
    """Whoever it is, from what stands in Vault alone."""
    world = World()
    ours = keeper(file, world)
    ours.begin(first(world))
    while file.load()[0].phase != phase:  # type: ignore[union-attr]
        world.now += 10
        ours.turn()
    world.dies_at = world.calls
    with contextlib.suppress(Killed):
        ours.turn()
    world.dies_at = None
    world.now += LEASE_SECONDS
    other = keeper(file, world, "b")
    other.decide(back)
    assert run(other, world).phase == "aborted"
    assert [key.fingerprint for key in world.server if key.is_active] == [OLD]
    assert fingerprint(world.read().dsn) == OLD


def test_a_retired_key_is_deleted_days_later(file: JournalFile) -> None:
    """Of a rotation that is done, and only while nobody has activated it again."""
    world = World()
    ours = keeper(file, world)
    with pytest.raises(RotationMissing):
        delete_retired(file, (SECRET, ""), world, 0.0, world.now)
    ours.begin(first(world))
    with pytest.raises(RotationMissing, match="rotation r1 is planned"):
        delete_retired(file, (SECRET, ""), world, 0.0, world.now)
    run(ours, world)
    for other in (("secret/data/other", ""), (SECRET, "celery")):
        with pytest.raises(RotationMissing, match="is of rotations of"):
            delete_retired(file, other, world, 0.0, world.now)
    with pytest.raises(RotationBusy, match="is done only since"):
        delete_retired(file, (SECRET, ""), world, 3600.0, world.now)

    world.switch(world.server[0].id, is_active=True)
    with pytest.raises(RotationBusy, match="is active again"):
        delete_retired(file, (SECRET, ""), world, 0.0, world.now)
    world.switch(world.server[0].id, is_active=False)
    delete_retired(file, (SECRET, ""), world, 0.0, world.now)
    assert [key.fingerprint for key in world.server] == [NEW]
    told = delete_retired(file, (SECRET, ""), world, 0.0, world.now).entries[-2:]
    assert [entry.text for entry in told] == [
        "the old key is deleted",
        "the server has no key with the old DSN",
    ]
