"""A failure that passes is not final, and one that lasts is told while it does."""

from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import sys
import time
from mishaps import *

A, B = os.environ["A"], os.environ["B"]

def failing(error, times, builds_of=lambda options: True):
    "Let the first builds fail; the list holds when each of all was tried."
    real, tried = Outlet.__init__, []
    def build(self, options):
        if not builds_of(options):
            return real(self, options)
        tried.append(time.monotonic())
        if len(tried) <= times:
            raise error
        real(self, options)
    Outlet.__init__ = build
    return tried
"""


ERRORS = [
    "OSError(24, 'Too many open files')",
    "MemoryError()",
    'RuntimeError("can\'t start new thread")',
]


@pytest.mark.parametrize("error", ERRORS)
def test_a_build_that_fails_is_tried_again(go: Run, sink: Sink, error: str) -> None:
    """The file has not changed; the next try takes the snapshot, and the error is over."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        tried = failing(eval(os.environ["ERROR"]), times=2)
        second = publish({"SENTRY_DSN": B})
        now = wait_for(lambda now: now["error"])
        refused = eventually(lambda: receipts() and receipts()[0]["refused"])
        runs(second)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(5)
        say(
            before=now["sequence"],
            refused=refused == [second.revision, second.sequence],
            tried=len(tried),
        )
        """,
        ERROR=error,
    )
    assert ran.said == {"before": 1, "refused": True, "tried": 3}
    assert messages(sink, 2) == ["after"]


def test_a_build_that_goes_on_failing_is_tried_less_and_less_often(go: Run) -> None:
    """And each reason is logged once, not with every try."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        told = Told()
        tried = failing(RuntimeError("no build"), times=1000)
        second = publish({"SENTRY_DSN": B})
        eventually(lambda: len(tried) >= 4, 30)
        gaps = [later - first for first, later in zip(tried, tried[1:])]
        say(
            grows=gaps[0] < gaps[-1],
            first=gaps[0],
            lines=len(told.about("no build")),
            error=resentry.status()["error"],
        )
        os._exit(0)
        """
    )
    assert ran.said["grows"]
    assert ran.said["first"] > 0.05
    assert ran.said["lines"] == 1
    assert "no build" in ran.said["error"]


def test_a_newer_snapshot_does_not_wait_for_the_next_try(go: Run) -> None:
    """Back-off is for what has failed: another snapshot is taken within a look."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        bad = lambda options: options.get("environment") == "bad"
        tried = failing(RuntimeError("no build"), times=1000, builds_of=bad)
        publish({"SENTRY_DSN": B, "SENTRY_ENVIRONMENT": "bad"})
        eventually(lambda: len(tried) >= 3, 30)
        began = time.monotonic()
        runs(publish({"SENTRY_DSN": B, "SENTRY_ENVIRONMENT": "good"}))
        say(took=time.monotonic() - began)
        """
    )
    assert ran.said["took"] < 3


@pytest.mark.parametrize("fallback", ["", "B"])
def test_a_first_snapshot_that_cannot_be_built_is_named(
    go: Run, sink: Sink, fallback: str
) -> None:
    """What serves instead, the environment's DSN or none, does not hide the refusal."""
    environ = {"SENTRY_DSN": sink.dsn(2)} if fallback else {}
    ran = go(
        """
        of_a = lambda options: options.get("dsn") == A
        # Once with all options, twice with few: then no option is the reason.
        failing(RuntimeError("no build"), times=3, builds_of=of_a)
        first = publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        now = resentry.status()
        sentry_sdk.capture_message("meanwhile")
        runs(first)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(5)
        say(runs=now["sequence"], revision=now["revision"], error=now["error"])
        """,
        **environ,
    )
    assert (ran.said["runs"], ran.said["revision"]) == (0, None)
    assert "no build" in ran.said["error"]
    assert messages(sink, 1) == ["after"]
    assert messages(sink, 2) == (["meanwhile"] if fallback else [])


@pytest.mark.parametrize("fallback", ["", "B"])
@pytest.mark.parametrize("how", ["build", "PII", "schema"])
def test_a_first_snapshot_that_stays_bad_stands_in_the_receipt(
    go: Run, sink: Sink, fallback: str, how: str
) -> None:
    """`refused` and `error` name it for as long as it is the newest."""
    environ = {"SENTRY_DSN": sink.dsn(2)} if fallback else {}
    ran = go(
        """
        from pathlib import Path
        how = os.environ["HOW"]
        more = {"PII": {"SENTRY_SEND_PII": True}}.get(how, {})
        first = publish({"SENTRY_DSN": A, **more})
        if how == "schema":
            path = Path(os.environ["RESENTRY_DIR"], "..data", "settings.json")
            path.write_text('{"schema": 99}')
        of_a = lambda options: how == "build" and options.get("dsn") == A
        tried = failing(RuntimeError("no build"), times=1000, builds_of=of_a)
        resentry.init(**QUICK)
        eventually(lambda: receipts() and receipts()[0]["error"], what="the error")
        eventually(lambda: how != "build" or len(tried) > 2, 30, "more tries")
        receipt, = receipts()
        say(
            error=receipt["error"],
            status=resentry.status()["error"],
            refused=receipt["refused"],
            first=[first.revision, first.sequence],
        )
        os._exit(0)
        """,
        HOW=how,
        **environ,
    )
    reason = {"build": "no build", "PII": "SEND_PII", "schema": "schema"}[how]
    assert reason in ran.said["error"]
    assert reason in ran.said["status"]
    # Of a file that is no snapshot nobody knows a revision.
    assert ran.said["refused"] == (None if how == "schema" else ran.said["first"])


def test_a_build_that_fails_in_a_forked_child_is_tried_again(
    go: Run, sink: Sink
) -> None:
    """What the child captures meanwhile is sent all the same."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        eventually(receipts)
        parent = os.getpid()
        in_the_child = lambda options: os.getpid() != parent
        failing(OSError(24, "Too many open files"), times=1, builds_of=in_the_child)
        def work():
            sentry_sdk.capture_message("child")
            sentry_sdk.flush(5)
            runs(publish({"SENTRY_DSN": B}))
            sentry_sdk.capture_message("child, later")
        in_a_child(work)
        say()
        """
    )
    assert messages(sink, 1) == ["child"]
    assert messages(sink, 2) == ["child, later"]
    assert ran.said == {}


def test_init_follows_although_no_thread_could_be_started(go: Run, sink: Sink) -> None:
    """It says so until one can, gives its receipt then, and loses no event."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        with no_new_thread():
            resentry.init(**QUICK)
            error = resentry.status()["error"]
            sentry_sdk.capture_message("meanwhile")
        sentry_sdk.capture_message("after")  # the next event tries again, as in the SDK
        sentry_sdk.flush(5)
        runs(publish({"SENTRY_DSN": B}))
        say(error=error)
        """
    )
    assert "thread" in ran.said["error"]
    assert messages(sink, 1) == ["meanwhile", "after"]
