"""A rotation keeps its rules, whoever carries it on and wherever it was killed."""

from __future__ import annotations

import itertools

import pytest
from msgspec.structs import replace

from agent.errors import SourceDown
from agent.rotation.journal import REFUSED_SECONDS, Journal, encode
from agent.rotation.keeper import TRIES_LIMIT
from agent.rotation.keys import Key
from lab.sink import key_of
from resentry.contract import fingerprint
from tests.unit.agent.rotation.turned import Rotation
from tests.unit.agent.rotation.world import World, dsn

OLD, NEW = fingerprint(dsn(1)), fingerprint(dsn(2))


def begin(world: World, **more: object) -> Rotation:
    journal = Journal(
        rotation="r1",
        secret="secret/data/lms",
        old=OLD,
        quiet_seconds=1800.0,
        since=world.now,
    )
    return Rotation(world, replace(journal, **more))


def calls_of_a_whole_rotation() -> int:
    world = World()
    begin(world).run()
    return world.calls


def test_the_old_key_is_retired_when_nobody_holds_it() -> None:
    """Each phase comes once, in order, and the journal says when and why."""
    rotation = begin(World())
    rotation.run()
    phases = [entry.phase for entry in rotation.journal.entries]
    assert phases == [
        *("created", "accepted", "accepted", "written", "converged"),
        *("drained", "quiet", "retired", "done"),
    ]
    assert (rotation.live, rotation.source) == ([NEW], NEW)
    assert rotation.world.retired_while_held == []
    assert dsn(1) not in encode(rotation.journal)
    assert dsn(2) not in encode(rotation.journal)


@pytest.mark.parametrize("call", range(calls_of_a_whole_rotation()))
def test_killed_anywhere_the_end_is_the_same(call: int) -> None:
    """Before and after each change of a server, and each save of the journal."""
    world = World()
    world.dies_at = call
    rotation = begin(world)
    rotation.run()
    assert rotation.journal.phase == "done"
    assert (rotation.live, rotation.source) == ([NEW], NEW)
    assert world.versions == [dsn(1), dsn(2)]
    assert world.retired_while_held == []


@pytest.mark.parametrize(
    "phase",
    ["created", "accepted", "written", "converged", "drained", "quiet", "retired"],
)
@pytest.mark.parametrize("call", [None, *range(10)])
def test_aborted_anywhere_the_old_dsn_stays(phase: str, call: int | None) -> None:
    """The old key lives, the secret holds its DSN, and the new key is retired."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == phase)
    rotation.journal = replace(rotation.journal, is_aborting=True)
    world.retired_while_held.clear()
    world.dies_at = None if call is None else world.calls + call
    rotation.run()
    assert rotation.journal.phase == "aborted"
    assert (rotation.live, rotation.source) == ([OLD], OLD)
    assert world.retired_while_held == []


def stuck(rotation: Rotation, phase: str) -> str:
    """Turn often; return why the rotation stays in this phase."""
    rotation.run(lambda journal: journal.phase == phase)
    for _ in range(200):
        rotation.turn()
    assert rotation.journal.phase == phase
    assert OLD in rotation.live
    return rotation.waits_for


def test_without_processes_nothing_converges() -> None:
    """Silence is no proof."""
    rotation = begin(World(processes=0))
    assert "no process has shown itself" in stuck(rotation, "written")


def test_a_silent_pod_counts_as_one_with_the_old_dsn() -> None:
    """Nobody knows what runs there."""
    world = World()
    world.silent = ("pod lms-7",)
    assert "pod lms-7" in stuck(begin(world), "written")


def test_what_cannot_prove_itself_holds_the_old_dsn() -> None:
    """It runs the new DSN, and may have a client of its own."""
    world = World()
    world.unproven = {"api pid 1"}
    assert "api pid 1" in stuck(begin(world), "converged")


def test_a_person_may_name_whom_not_to_wait_for() -> None:
    """Only these; and the names stand in the journal."""
    world = World()
    world.silent = ("pod lms-7",)
    rotation = begin(world, forced=("pod lms-7",))
    rotation.run()
    assert rotation.journal.phase == "done"
    assert "pod lms-7" in encode(rotation.journal)


def test_a_pod_that_joins_with_the_old_dsn_counts() -> None:
    """Also after the old DSN had been let go everywhere."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "quiet")
    world.runs["api pid 9"] = dsn(1)
    world.unproven = {"api pid 9"}
    rotation.turn()
    assert rotation.journal.phase == "converged"
    assert "api pid 9" in stuck(rotation, "converged")


def test_the_old_key_has_to_be_quiet() -> None:
    """What the server says counts, not the time alone."""
    world = World()
    world.quiet = 60.0
    assert "by the old key" in stuck(begin(world), "drained")


def test_quiet_begins_when_nobody_holds_the_old_dsn() -> None:
    """The longest job may still run."""
    rotation = begin(World())
    rotation.run(lambda journal: journal.phase == "drained")
    drained_at = rotation.world.now
    rotation.run(lambda journal: journal.phase == "quiet")
    assert rotation.world.now - drained_at >= 1800


def test_done_is_seven_minutes_of_refusals() -> None:
    """A server that caches accepts the old key for a while."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    began, world.verdicts[dsn(1)] = world.now, "accepted"
    for _ in range(100):
        rotation.turn()
    assert rotation.journal.phase == "retired"
    del world.verdicts[dsn(1)]
    rotation.run()
    assert world.now - began >= REFUSED_SECONDS


def test_done_is_seven_minutes_without_a_rise_of_refusals() -> None:
    """A process that is refused may still send by the old key; old refusals do not count."""
    world = World()
    world.refused = {"api pid 0": 7, "api pid 1": 3}
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    for refused in (8, 9, 10):
        world.refused["api pid 0"] = refused
        began = world.now
        for _ in range(10):
            rotation.turn()
        assert rotation.journal.phase == "retired"
    rotation.run()
    assert world.now - began >= REFUSED_SECONDS


def test_a_process_that_ends_takes_its_refusals_along() -> None:
    """The next refusal counts nevertheless."""
    world = World()
    world.refused = {"api pid 0": 7}
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    del world.refused["api pid 0"]
    rotation.turn()
    world.refused["api pid 1"] = 1
    rotation.turn()
    assert rotation.journal.refused_by == {"api pid 1": 1}
    assert rotation.journal.since == world.now


def test_unknown_refusals_are_no_proof() -> None:
    """A pod that is silent after the old key's end, or a receipt that cannot be read."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    world.silent, world.refused = ("pod lms-7",), {"api pid 1": None}
    for _ in range(100):
        rotation.turn()
    assert rotation.journal.phase == "retired"
    assert "api pid 1, pod lms-7" in rotation.waits_for
    rotation.journal = replace(rotation.journal, forced=("pod lms-7",))
    world.refused.clear()
    rotation.run()
    assert rotation.journal.phase == "done"


def test_a_key_that_is_not_accepted_is_never_written() -> None:
    """The rotation waits for a person; both keys live."""
    world = World()
    world.verdicts[dsn(2)] = "rejected"
    rotation = begin(world)
    rotation.run(lambda journal: bool(journal.held))
    assert (rotation.live, rotation.source) == (sorted([OLD, NEW]), OLD)
    rotation.turn()
    assert rotation.journal.phase == "created"


def test_a_foreign_dsn_at_the_source_is_not_replaced() -> None:
    """Somebody else rotates, too."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "accepted")
    world.versions.append(dsn(77))
    rotation.run(lambda journal: bool(journal.held))
    assert world.versions[-1] == dsn(77)


def test_a_new_dsn_that_was_replaced_meanwhile_retires_nothing() -> None:
    """What runs everywhere is not what the secret holds."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "quiet")
    world.versions.append(dsn(1))
    rotation.turn()
    assert rotation.journal.held
    assert rotation.live == sorted([OLD, NEW])


def test_a_leaked_key_is_retired_at_its_deadline() -> None:
    """Whatever holds it: the journal names who."""
    world = World()
    world.silent = ("pod lms-7",)
    rotation = begin(world, deadline=world.now + 600)
    rotation.run()
    assert rotation.live == [NEW]
    assert "the deadline is over" in encode(rotation.journal)
    assert "pod lms-7" in encode(rotation.journal)


def test_a_server_that_ignores_the_switch_is_asked_to_delete() -> None:
    """GlitchTip answers 200 and keeps the key."""
    world = World()
    world.ignores_switch = True
    rotation = begin(world)
    rotation.run()
    assert [key.fingerprint for key in world.server] == [NEW]
    assert world.retired_while_held == []


def test_failures_are_retried_then_held() -> None:
    """A held rotation goes on only when a person says so."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "accepted")
    world.server = [key for key in world.server if key.fingerprint == OLD]
    rotation.run(lambda journal: bool(journal.held))
    assert rotation.journal.tries == TRIES_LIMIT
    rotation.turn()
    assert rotation.journal.phase == "accepted"
    assert (rotation.live, rotation.source) == ([OLD], OLD)


def test_a_server_that_does_not_say_is_no_proof_of_quiet() -> None:
    """It said at the beginning when something came; so its silence is a fault."""
    world = World()
    world.quiet = None
    rotation = begin(world, needs_quiet=True)
    assert "no longer says" in stuck(rotation, "drained")
    rotation.journal = replace(rotation.journal, needs_quiet=False)
    rotation.run()
    assert rotation.journal.phase == "done"


def test_what_came_by_the_old_key_before_it_is_retired_counts() -> None:
    """The rotation was ended between the two phases, and resumed days later."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "quiet")
    world.quiet = 60.0
    rotation.turn()
    assert rotation.journal.phase == "drained"
    assert "by the old key" in stuck(rotation, "drained")


def test_a_leaked_key_is_retired_though_the_fleet_cannot_be_asked() -> None:
    """The failures neither hold the rotation nor put off the deadline."""
    world = World()

    def fails() -> None:
        raise SourceDown("the Service of the fleet cannot be resolved")

    world.on_fleet = fails
    rotation = begin(world, deadline=world.now + 3600)
    rotation.run(lambda journal: journal.phase == "retired" or bool(journal.held))
    assert (rotation.live, rotation.journal.held) == ([NEW], "")
    assert rotation.world.now >= (rotation.journal.deadline or 0)
    assert "cannot be resolved" in encode(rotation.journal)


def test_a_second_key_of_the_same_name_is_retired_with_the_old_one() -> None:
    """Two holders made one each: the second could not save its journal."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "accepted")
    world.make(rotation.journal.key_name)
    rotation.run()
    assert (rotation.live, rotation.source) == ([NEW], NEW)


@pytest.mark.parametrize("phase", ["written", "converged", "drained"])
def test_a_wait_ends_when_the_new_dsn_was_replaced(phase: str) -> None:
    """Nothing that is waited for would ever come."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == phase)
    world.versions.append(dsn(1))
    rotation.run(lambda journal: bool(journal.held))
    assert "no longer holds the new DSN" in rotation.journal.held
    assert rotation.live == sorted([OLD, NEW])


def test_a_deleted_key_cannot_come_back() -> None:
    """GlitchTip deletes: the secret keeps the new DSN, and a person decides."""
    world = World()
    world.ignores_switch = True
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    rotation.journal = replace(rotation.journal, is_aborting=True)
    rotation.run(lambda journal: bool(journal.held))
    assert (rotation.live, rotation.source) == ([NEW], NEW)
    rotation.journal = replace(rotation.journal, held="")
    rotation.run()
    assert rotation.journal.phase == "done"


def test_the_old_dsn_comes_back_when_its_server_accepts_it_again() -> None:
    """Servers cache: a key that was retired is refused for a while."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    rotation.journal = replace(rotation.journal, is_aborting=True)
    world.verdicts[dsn(1)] = "rejected"
    for _ in range(20):
        rotation.turn()
    assert (rotation.source, rotation.live) == (NEW, sorted([OLD, NEW]))
    del world.verdicts[dsn(1)]
    rotation.run()
    assert (rotation.source, rotation.live) == (OLD, [OLD])


def test_only_failures_in_a_row_are_counted() -> None:
    """A wait between two failures shows that the step can be done."""
    world = World()
    world.silent = ("pod lms-7",)
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "written")
    turns = itertools.count()

    def fails_each_third_time() -> None:
        if next(turns) % 3 == 0:
            raise SourceDown("the Service of the fleet cannot be resolved")

    world.on_fleet = fails_each_third_time
    for _ in range(TRIES_LIMIT * 4):
        rotation.turn()
    assert (rotation.journal.phase, rotation.journal.held) == ("written", "")


def test_an_old_key_that_the_server_does_not_know_is_not_replaced() -> None:
    """It could not be retired: the settings name another project, or a Relay's host."""
    world = World()
    world.server.clear()
    rotation = begin(world)
    rotation.turn()
    assert "no key with the old DSN" in rotation.journal.held
    assert (rotation.live, world.versions) == ([], [dsn(1)])


def test_a_key_that_is_gone_is_asked_for_nevertheless() -> None:
    """Only the server's refusals show that nobody can send by its DSN."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "quiet")
    world.server = [key for key in world.server if key.fingerprint == NEW]
    world.verdicts[dsn(1)] = "accepted"
    for _ in range(100):
        rotation.turn()
    assert rotation.journal.phase == "retired"
    assert "not yet refused the old key" in rotation.waits_for
    del world.verdicts[dsn(1)]
    rotation.run()
    assert rotation.journal.phase == "done"


def test_without_the_new_key_the_old_one_is_not_gone() -> None:
    """The keys are those of another project: a setting was changed meanwhile."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    world.server.clear()
    rotation.run(lambda journal: bool(journal.held))
    assert rotation.journal.phase == "retired"


@pytest.mark.parametrize("phase", ["written", "retired"])
def test_an_abort_leaves_a_dsn_of_somebody_else(phase: str) -> None:
    """A hotfix is a decision; the new key goes when nobody holds it."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == phase)
    world.server.append(Key("hotfix", "Hotfix", dsn(9), is_active=True))
    world.write(dsn(9), len(world.versions))
    rotation.journal = replace(rotation.journal, is_aborting=True)
    world.retired_while_held.clear()
    rotation.run()
    assert rotation.journal.phase == "aborted"
    assert rotation.source == fingerprint(dsn(9))
    assert NEW not in rotation.live
    assert fingerprint(dsn(9)) in rotation.live
    assert world.retired_while_held == []


def test_an_abort_needs_no_earlier_version_of_the_secret() -> None:
    """Vault keeps so many; the server has the DSN of the old key."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "converged")
    world.versions[0] = ""
    rotation.journal = replace(rotation.journal, is_aborting=True)
    rotation.run()
    assert (rotation.live, rotation.source) == ([OLD], OLD)


@pytest.mark.parametrize("phase", ["written", "converged", "drained", "quiet"])
@pytest.mark.parametrize("number", [1, 9])
def test_a_leaked_key_is_retired_whatever_is_written_meanwhile(
    phase: str, number: int
) -> None:
    """The old DSN is replaced again; one of somebody else stays."""
    world = World()
    rotation = begin(world, deadline=world.now + 7200)
    rotation.run(lambda journal: journal.phase == phase)
    world.write(dsn(number), len(world.versions))
    rotation.run(lambda journal: journal.phase == "retired" or bool(journal.held))
    assert (rotation.live, rotation.journal.held) == ([NEW], "")
    assert rotation.source == (NEW if number == 1 else fingerprint(dsn(9)))


def test_failures_that_may_pass_do_not_hold_the_rotation_of_a_leaked_key() -> None:
    """A hold would outlast the deadline."""
    world = World()
    rotation = begin(world, deadline=world.now + 7200)
    rotation.run(lambda journal: journal.phase == "accepted")
    server, world.server = world.server, []
    for _ in range(3 * TRIES_LIMIT):
        rotation.turn()
    world.server = server
    rotation.run(lambda journal: journal.phase == "retired" or bool(journal.held))
    assert rotation.live == [NEW]


@pytest.mark.parametrize("phase", ["accepted", "written", "converged", "drained"])
def test_a_new_key_that_was_deactivated_holds_the_rotation(phase: str) -> None:
    """Its DSN is not written; and nothing goes on towards the old key's end."""
    world = World()
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == phase)
    rotation.turn()  # the version to go back to
    world.switch(key_of(42, 2), is_active=False)
    rotation.run(lambda journal: bool(journal.held))
    assert "not active" in rotation.journal.held
    assert rotation.live == [OLD]
    assert rotation.source == (OLD if phase == "accepted" else NEW)


def test_refusals_of_one_process_are_not_hidden_by_the_end_of_another() -> None:
    """Each process has a count of its own."""
    world = World()
    world.refused = {"api pid 0": 5}
    rotation = begin(world)
    rotation.run(lambda journal: journal.phase == "retired")
    world.runs["api pid 3"] = world.runs.pop("api pid 0")
    world.refused = {"api pid 1": 5}
    rotation.turn()
    rotation.turn()
    began = world.now
    assert rotation.journal.refused_by == {"api pid 1": 5}
    rotation.run()
    assert world.now - began >= REFUSED_SECONDS - 60
