"""What a swap owes to events that are on their way, in one process."""

from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages
from sentry_sdk.consts import DEFAULT_OPTIONS

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import contextlib, threading, time
from resentry.outlet import Outlet
from resentry.sdk.wire import Wire
from resentry import swap

A, B, C = os.environ["A"], os.environ["B"], os.environ["C"]

def start(**settings):
    publish(settings)
    resentry.init(**QUICK)
    return sentry_sdk.get_client()

def swap_to(**settings):
    second = publish(settings)
    wait_for(lambda now: now["sequence"] == second.sequence)

def capture(count, text=""):
    for number in range(count):
        sentry_sdk.capture_message(f"{text}{number}")

def used():
    names = [t.name for t in threading.enumerate() if t.name == "resentry.outlet"]
    return len(names), sum(map(is_kept, os.listdir("/proc/self/fd")))

def is_kept(number):
    with contextlib.suppress(OSError):  # the listing's own, or one of a moment
        return "/proc/" not in os.readlink(f"/proc/self/fd/{number}")
    return False
"""


def numbered(count: int, text: str = "") -> list[str]:
    return sorted(f"{text}{number}" for number in range(count))


def test_an_old_client_of_another_environment_sends_to_the_old_project(
    go: Run, sink: Sink
) -> None:
    """What it captures later would be untrue elsewhere; no thread or socket remains."""
    ran = go(
        """
        old = start(SENTRY_DSN=A, SENTRY_ENVIRONMENT="one")
        capture(1)
        sentry_sdk.flush(5)
        before = used()
        take_up({"SENTRY_DSN": B, "SENTRY_ENVIRONMENT": "two"})
        old.capture_event({"message": "late"})
        capture(1)
        sentry_sdk.flush(5)
        eventually(lambda: used() == before, what=f"{used()} is {before}")
        say(tally=resentry.status()["tally"])
        """
    )
    assert sorted(messages(sink, 1)) == ["0", "late"]
    assert sorted(messages(sink, 2)) == ["0"]
    assert ran.said["tally"]["rerouted"] == 0


def test_what_an_old_client_logs_later_is_held_by_the_current_one(
    go: Run, sink: Sink
) -> None:
    """Logs, metrics and sessions find a part that still sends them."""
    go(
        """
        QUICK["enable_logs"] = True
        old = start(SENTRY_DSN=A)
        take_up({"SENTRY_DSN": B})
        with sentry_sdk.new_scope() as scope:
            scope.client = old
            sentry_sdk.logger.info("late")
            sentry_sdk.metrics.count("late", 1)
            scope.start_session()
            scope.end_session()
        sentry_sdk.flush(5)
        say()
        """
    )
    kinds = ["log", "session"]
    if "enable_metrics" in DEFAULT_OPTIONS:  # not in the oldest sentry-sdk
        kinds.append("trace_metric")
    for kind in kinds:
        assert (sink.count(kind, 1), sink.count(kind, 2)) == (0, 1), kind


def test_what_is_rerouted_never_reaches_another_environment(
    go: Run, sink: Sink
) -> None:
    """Not even two swaps later: the environment of the current client counts."""
    ran = go(
        """
        old = start(SENTRY_DSN=A, SENTRY_ENVIRONMENT="one")
        take_up({"SENTRY_DSN": B, "SENTRY_ENVIRONMENT": "one"})
        old.capture_event({"message": "in the second"})
        take_up({"SENTRY_DSN": C, "SENTRY_ENVIRONMENT": "two"})
        old.capture_event({"message": "in the first"})
        transport = old.transport
        eventually(lambda: not transport.pending)
        sentry_sdk.flush(5)
        say(tally=resentry.status()["tally"])
        """
    )
    assert sorted(messages(sink, 1)) == ["in the first"]
    assert sorted(messages(sink, 2)) == ["in the second"]
    assert sorted(messages(sink, 3)) == []
    assert ran.said["tally"]["rerouted"] == 1


@pytest.mark.parametrize("environments", ["one one one", "one two three"])
def test_two_rotations_within_a_tenth_of_a_second_lose_nothing(
    go: Run, sink: Sink, environments: str
) -> None:
    """Each event is in the project that was current when it was captured."""
    sink.answer(1, "ok", seconds=0.01)
    ran = go(
        """
        names = os.environ["ENVIRONMENTS"].split()
        start(SENTRY_DSN=A, SENTRY_ENVIRONMENT=names[0])
        capture(20, "a")
        began = time.monotonic()
        swap_to(SENTRY_DSN=B, SENTRY_ENVIRONMENT=names[1])
        capture(20, "b")
        swap_to(SENTRY_DSN=C, SENTRY_ENVIRONMENT=names[2])
        took = time.monotonic() - began
        capture(20, "c")
        wait_for(lambda now: now["phase"] == "drained")
        sentry_sdk.flush(5)
        say(took=took, tally=resentry.status()["tally"])
        """,
        ENVIRONMENTS=environments,
    )
    for project, text in enumerate("abc", start=1):
        assert numbered(20, text) == sorted(messages(sink, project))
    assert sink.duplicates() == 0
    assert ran.said["tally"]["rerouted"] == 0


def test_there_and_back_while_the_first_client_still_sends(go: Run, sink: Sink) -> None:
    """From A to B to A: A gets what was captured under both of its clients, once."""
    sink.answer(1, "ok", seconds=0.02)
    ran = go(
        """
        start(SENTRY_DSN=A)
        capture(40, "first")
        swap_to(SENTRY_DSN=B)
        capture(5)
        swap_to(SENTRY_DSN=A)
        still = resentry.status()["phase"]
        capture(40, "second")
        wait_for(lambda now: now["phase"] == "drained")
        sentry_sdk.flush(5)
        say(still=still)
        """
    )
    assert ran.said["still"] == "running"
    assert sorted(numbered(40, "first") + numbered(40, "second")) == sorted(
        messages(sink, 1)
    )
    assert numbered(5) == sorted(messages(sink, 2))
    assert sink.duplicates() == 0


def test_what_is_queued_when_reporting_goes_off_is_sent(go: Run, sink: Sink) -> None:
    """An empty DSN ends captures, not the delivery of earlier ones, nor any thread."""
    sink.answer(1, "ok", seconds=0.02)
    go(
        """
        QUICK.update(enable_logs=True, traces_sample_rate=1.0)
        start(SENTRY_DSN=A, SENTRY_ENVIRONMENT="staging", SENTRY_TRACES_SAMPLE_RATE=1.0)
        capture(20)
        sentry_sdk.logger.info("a line")
        with sentry_sdk.start_transaction(name="work"):
            pass
        monitor = sentry_sdk.get_client().monitor
        swap_to(SENTRY_DSN="", SENTRY_ENVIRONMENT="staging")
        wait_for(lambda now: now["phase"] == "drained")
        say()
        assert not monitor._running
        """
    )
    assert numbered(20) == sorted(messages(sink, 1))
    assert sink.count("log", 1) == 1
    assert sink.count("transaction", 1) == 1


def test_flush_waits_for_the_client_before_as_well(go: Run, sink: Sink) -> None:
    """An application that flushes has sent all that it captured, swap or not."""
    sink.answer(1, "ok", seconds=0.02)
    ran = go(
        """
        start(SENTRY_DSN=A)
        capture(40)
        swap_to(SENTRY_DSN=B)
        phase = resentry.status()["phase"]
        sentry_sdk.flush(10)
        say(phase=phase)
        os._exit(0)
        """
    )
    assert ran.said == {"phase": "running"}
    assert numbered(40) == sorted(messages(sink, 1))


EXIT = """
from sentry_sdk.integrations.atexit import AtexitIntegration
QUICK["integrations"] = [AtexitIntegration(callback=lambda pending, timeout: None)]
start(SENTRY_DSN=A)
capture(20)
"""


@pytest.mark.parametrize("how", ["slow", "revoked", "hung"])
def test_an_exit_while_the_old_client_drains_loses_nothing(
    go: Run, sink: Sink, how: str
) -> None:
    """A process that ends right after a swap has sent what both clients held."""
    sink.answer(1, *{"slow": ("ok",), "revoked": (403,), "hung": ("hang",)}[how])
    if how == "slow":
        sink.answer(1, "ok", seconds=0.05)
    go(EXIT + "swap_to(SENTRY_DSN=B)\nsay()\n")
    in_doubt = 1 if how == "hung" else 0

    received = sorted(messages(sink, 1)) + sorted(messages(sink, 2))
    assert len(set(received)) >= 20 - in_doubt
    assert len(received) == len(set(received))
