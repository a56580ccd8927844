"""What is said of a rollout between two passes."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.domain.dsn_check import DsnReport
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import (
    MISSING_HINT,
    OVERDUE_HINT,
    REFUSED_HINT,
    LiveTarget,
    assess,
)
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.observe.changes import NAMED, log_changes
from resentry.contract import Holder, Receipt, Snapshot

CURRENT = Snapshot({}, revision="a" * 12, sequence=7)
RUNS = {"revision": CURRENT.revision, "sequence": CURRENT.sequence}


@pytest.fixture
def look() -> Callable[..., list[Any]]:
    """Have these targets seen after those of the last call; return what is logged."""
    seen = View(Known(CURRENT), Passes(0.0), 0.0, assess([], CURRENT, late=False))

    def look(*targets: LiveTarget, unknown: str = "", late: bool = False) -> list[Any]:
        nonlocal seen
        rollout = assess(targets, CURRENT, late=late, unknown=unknown)
        before, seen = seen, replace(seen, rollout=rollout)
        with capture_logs() as lines:
            log_changes(before, seen)
        return [
            SimpleNamespace(is_unfinished=rollout.is_unfinished, **line)
            for line in lines
        ]

    return look


def test_who_gives_no_readable_receipt_is_named_once(
    look: Callable[..., list[Any]], receipt: Callable[..., Receipt]
) -> None:
    """At first it may only be starting; when it is overdue it is a warning."""
    good = LiveTarget(receipt(**RUNS), 0)
    silent = LiveTarget.unreadable("a" * 16, 7, "the receipt is not JSON")
    named = ["unknown pid 7: the receipt is not JSON"]
    look(good)
    (line,) = look(good, silent)
    assert (line.log_level, line.event) == ("info", "2 targets: 1 drained, 1 waiting")
    assert (line.targets, line.is_unfinished) == (named, True)
    assert look(good, silent) == []
    (line,) = look(good, silent, late=True)
    assert (line.log_level, line.targets) == ("warning", named)
    (line,) = look(good)
    assert (line.event, line.is_unfinished) == ("1 target: 1 drained", False)
    assert not hasattr(line, "targets")


def test_a_holder_is_named_when_it_appears_and_when_it_is_gone(
    look: Callable[..., list[Any]], receipt: Callable[..., Receipt]
) -> None:
    """The state may stay the same meanwhile."""
    running = LiveTarget(receipt(**RUNS, phase="running"), 0)
    holds = LiveTarget(receipt(**RUNS, holders=(Holder("otlp", "b" * 12),)), 0)
    assert [line.event for line in look(running)] == ["1 target: 1 confirmed"]
    (line,) = look(holds)
    assert line.event == "1 target: 1 confirmed"
    (note,) = line.targets
    assert note.endswith("otlp still sends by the older DSN bbbbbbbbbbbb")
    (line,) = look(LiveTarget(receipt(**RUNS), 0))
    assert line.event == "1 target: 1 drained"


def test_a_directory_that_cannot_be_read_is_a_warning_until_it_can(
    look: Callable[..., list[Any]],
) -> None:
    """And it is looked at again: no event will tell when that changes."""
    look()
    (line,) = look(unknown="cannot read the receipts in /r: Permission denied")
    assert line.log_level == "warning"
    assert line.event == "cannot read the receipts in /r: Permission denied"
    assert line.is_unfinished
    (line,) = look()
    assert (line.log_level, line.is_unfinished) == ("info", False)


def test_an_overdue_target_is_named_with_what_it_runs_and_the_next_step(
    look: Callable[..., list[Any]], receipt: Callable[..., Receipt]
) -> None:
    """Role, pid, revision: so that an operator knows whose log to read."""
    stuck = receipt(role="celery", pid=516, revision="b" * 12, sequence=6)
    look(LiveTarget(stuck, 0))
    (line,) = look(LiveTarget(stuck, 0), late=True)
    assert (line.log_level, line.event) == ("warning", "1 target: 1 overdue")
    assert (line.revision, line.sequence) == (CURRENT.revision, CURRENT.sequence)
    assert line.targets == [
        "celery pid 516: overdue, runs revision bbbbbbbbbbbb, sequence 6"
    ]
    assert line.hint == OVERDUE_HINT


def test_a_target_that_refuses_is_named_with_its_reason(
    look: Callable[..., list[Any]], receipt: Callable[..., Receipt]
) -> None:
    """And with the next step."""
    refused = receipt(
        pid=7,
        refused=(CURRENT.revision, CURRENT.sequence),
        error="SENTRY_DSN is required in production",
    )
    (line,) = look(LiveTarget(refused, 0))
    assert line.targets == [
        "api pid 7: refused, runs no snapshot; SENTRY_DSN is required in production"
    ]
    assert line.hint == REFUSED_HINT


def test_a_role_with_too_few_processes_has_a_hint(
    receipt: Callable[..., Receipt],
) -> None:
    """When its time is over, not before."""
    targets = [LiveTarget(receipt(**RUNS), 0)]
    for late, hint in ((False, ""), (True, MISSING_HINT)):
        rollout = assess(targets, CURRENT, late=late, minimum={"api": 2})
        assert rollout.hint == hint


def test_a_dsn_check_is_logged_once(receipt: Callable[..., Receipt]) -> None:
    """Not as a note of its pass, too."""
    report = DsnReport(
        "o1.example.org/1", "dsn-1", "unknown", True, 1, 0.0, "status 502"
    )
    outcome = Outcome.published(CURRENT, ("a note", report.sentence))
    passes = Passes(0.0).after(outcome, Moment(1.0, 1.0), 0.1)
    rollout = assess([LiveTarget(receipt(), 0)], CURRENT, late=False)
    before = View(Known(CURRENT), Passes(0.0), 0.0, rollout)
    after = replace(before, passes=passes, dsn_checks=(report,))
    with capture_logs() as lines:
        log_changes(before, after)
    (published, check) = lines
    assert published["notes"] == ("a note",)
    assert check["event"] == (
        "DSN check of o1.example.org/1: the server gave no answer that says whether it "
        "accepts the key; the agent asks again: status 502"
    )
    assert "DNS, TLS" in check["hint"]
    assert "no proxy" in check["hint"]


def test_a_line_names_so_many_and_no_more(look: Callable[..., list[Any]]) -> None:
    """Whoever may write receipts cannot fill the log with one line."""
    silent = [LiveTarget.unreadable(f"{n:016}", n, "why") for n in range(1, 100)]
    (line,) = look(*silent)
    assert len(line.targets) == NAMED
