"""What a person may change in a rotation that is under way, and how a fleet is judged."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from agent.domain.summary import PodProcess, Summary
from agent.fleet.ask import Answer
from agent.fleet.pods import Pod
from agent.rotation.journal import Journal
from agent.rotation.keeper import RotationBusy
from agent.rotation.keys import Key
from agent.rotation.open import Choice, decided, mark_of, must_be_alone
from agent.rotation.rules import NOBODY_FOLLOWS, holders, unconverged
from agent.rotation.world import fleet_of

OLD, NEW = "0" * 12, "1" * 12
UNDER_WAY = Journal(
    rotation="r1",
    secret="s",
    old=OLD,
    quiet_seconds=1800.0,
    needs_quiet=True,
    since=1.0,
    phase="drained",
)


def changed(choice: Choice, journal: Journal = UNDER_WAY, **more: Any) -> Journal:
    news = decided(journal, choice, 100.0, **({"is_aborting": False} | more))
    return replace(journal, **news)


def told(journal: Journal) -> str:
    return journal.entries[-1].text if journal.entries else ""


def test_a_key_that_leaks_while_it_is_replaced() -> None:
    """Its rotation gets a deadline, and waits for nothing that takes long."""
    made = changed(Choice("s", leaked_seconds=900.0))
    assert (made.deadline, made.quiet_seconds, made.needs_quiet) == (1000.0, 0.0, False)
    assert "has leaked" in told(made)


def test_each_decision_of_a_person_stands_in_the_journal() -> None:
    """Whom not to wait for, how long, which way; and that there was one at all."""
    made = changed(Choice("s", quiet_seconds=60.0, forced=("pod a", "pod b")))
    assert made.forced == ("pod a", "pod b")
    assert (made.quiet_seconds, made.needs_quiet) == (60.0, False)
    assert told(made) == "not waited for: pod a, pod b; quiet is 60 s"
    assert "goes back" in told(changed(Choice("s"), is_aborting=True))
    held = UNDER_WAY.hold(50.0, "denied")
    assert told(changed(Choice("s"), held)) == "a person goes on"
    assert changed(Choice("s"), held).held == ""
    assert changed(Choice("s")).entries == ()
    assert changed(Choice("s", refused_seconds=5.0)).refused_seconds == 5.0


def test_an_abort_is_gone_on_with() -> None:
    """Whoever resumes it does not turn it round."""
    aborting = replace(UNDER_WAY, is_aborting=True)
    assert changed(Choice("s"), aborting).is_aborting


def pod(name: str, *processes: PodProcess, **more: Any) -> Answer:
    given = {"is_complete": True} | more
    summary = Summary(agent="1.0.0", processes=processes, **given)
    return Answer(Pod(name, f"http://{name}/fleet"), summary)


def process(**more: Any) -> PodProcess:
    given: dict[str, Any] = {"role": "api", "pid": 1, "state": "drained", "runs": NEW}
    given["proves"] = True
    return PodProcess(**(given | more))


def test_a_pod_without_processes_is_no_proof() -> None:
    """Its application may be about to start, or may not use the library."""
    fleet = fleet_of([pod("a", process()), pod("b")], "", 0)
    left = ["b (no process has given a receipt)"]
    assert unconverged(fleet, NEW, frozenset()) == left
    assert holders(fleet, OLD, frozenset()) == left
    assert unconverged(fleet, NEW, frozenset(left)) == []


def test_two_containers_with_a_pid_1_have_two_names() -> None:
    """To leave one out is not to leave out both."""
    fleet = fleet_of([pod("a", process(runs=OLD), process(runs=OLD))], "", 0)
    assert unconverged(fleet, NEW, frozenset({"a api pid 1"})) == ["a api pid 1 (2)"]


def test_what_may_be_the_reason_is_named() -> None:
    """A process that refuses, a pod that cannot read, and one that does not answer."""
    fleet = fleet_of([pod("a", process(state="refused"), is_failing=True)], "", 0)
    silent = fleet_of([Answer(Pod("b", ""), None, "has no address yet")], "", 0)
    assert (silent.silent, silent.troubles) == (("b",), ("b: has no address yet",))
    assert fleet.troubles == ("a cannot read its source", "a api pid 1 is refused")


def test_a_role_without_a_process_does_not_converge() -> None:
    """It may be about to start; a person may know better."""
    fleet = fleet_of([pod("a", process(runs=OLD))], "celery", 0)
    assert unconverged(fleet, NEW, frozenset()) == [NOBODY_FOLLOWS]
    assert unconverged(fleet, NEW, frozenset({NOBODY_FOLLOWS})) == []


def test_a_rotation_with_another_journal_is_known_by_its_key() -> None:
    """One of another secret, of another role or before this one is none of its business."""
    ours, other = mark_of("secret/data/lms", ""), mark_of("secret/data/lms", "celery")
    old = Key("1", f"resentry-1-{ours}-a", "", is_active=True)
    made = Key("2", f"resentry-2-{ours}-b", "", is_active=True)
    fine = [
        old,
        made._replace(is_active=False),
        made._replace(name=f"resentry-2-{other}-b"),
        made._replace(name="Default"),
    ]
    must_be_alone(fine, ours, old)
    with pytest.raises(RotationBusy, match="another rotation of this secret"):
        must_be_alone([*fine, made], ours, old)
