"""What is said of a rollout between two passes."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.domain.passes import Passes
from agent.domain.rollout import LiveTarget, assess
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


def test_a_line_names_so_many_and_no_more(look: Callable[..., list[Any]]) -> None:
    """Whoever may write receipts cannot fill the log with one line."""
    silent = [LiveTarget.unreadable(f"{n:016}", n, "why") for n in range(1, 100)]
    (line,) = look(*silent)
    assert len(line.targets) == NAMED
