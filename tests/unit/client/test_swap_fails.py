"""A swap is all or nothing, whatever raises in the middle of it.

One client serves afterwards, the other one is retired, and the receipt says which.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from mishaps import BREAKS

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
from mishaps import *

A, B, C = os.environ["A"], os.environ["B"], os.environ["C"]
QUICK["enable_logs"] = True
QUICK.update(traces_sampler=Moody(), transport_queue_size=MoodyNumber(1000))
PROFILING = {"SENTRY_PROFILES_SAMPLE_RATE": 1.0}

def start():
    publish({"SENTRY_DSN": A, **PROFILING})
    resentry.init(**QUICK)
    before = used()
    hold("before")
    return before
"""


def messages(sink: Sink, *projects: int) -> Counter[str]:
    found = [event.message for p in projects for event in sink.events(p)]
    return Counter(message for message in found if message != "in use")


def check(sink: Sink, said: dict[str, Any], second: list[Any]) -> None:
    """Client, status and receipt told the same; all that was held arrived, once."""
    outcome = said["outcome"]
    if outcome["sequence"] == 2:
        assert outcome["refused"] is None
    else:
        assert (outcome["sequence"], outcome["refused"]) == (1, second)
        assert outcome["error"]
    served_by = outcome["sequence"]
    assert outcome["dsn"] == sink.dsn(served_by)
    assert messages(sink, 1, 2) == {"before": 1, "during": 1, "after": 1}
    assert messages(sink, served_by)["during"] == 1
    assert messages(sink, 2)["after"] == 1
    assert (sink.count("session"), sink.count("log")) == (said["held"], said["held"])
    assert sink.duplicates() == 0


@pytest.mark.parametrize("how", BREAKS)
def test_one_client_serves_when_a_swap_fails(go: Run, sink: Sink, how: str) -> None:
    """And the next try, which needs no new snapshot, succeeds; nothing stays behind."""
    ran = go(
        """
        before = start()
        with BREAKS[os.environ["HOW"]]():
            second = publish({"SENTRY_DSN": B})
            outcome = settled(second.sequence)
            hold("during")
        runs(second)
        hold("after")
        back_to(before)
        sentry_sdk.flush(5)
        say(outcome=outcome, second=[second.revision, second.sequence], held=held())
        """,
        HOW=how,
    )
    check(sink, ran.said, ran.said["second"])


@pytest.mark.parametrize("how", ["no client", "not set", "set, and raises"])
def test_one_client_serves_when_a_second_init_fails(
    go: Run, sink: Sink, how: str
) -> None:
    """A swap by an explicit `init` is all or nothing, too."""
    ran = go(
        """
        before = start()
        resentry.close()
        second = publish({"SENTRY_DSN": B})
        with BREAKS[os.environ["HOW"]]():
            resentry.init(**QUICK)
            outcome = settled(second.sequence)
            hold("during")
        runs(second)
        hold("after")
        back_to(before)
        sentry_sdk.flush(5)
        say(outcome=outcome, second=[second.revision, second.sequence], held=held())
        """,
        HOW=how,
    )
    check(sink, ran.said, ran.said["second"])


PARTS = ("log_batcher", "metrics_batcher", "session_flusher", "transport")


@pytest.mark.parametrize("name", ["flush", "kill"])
@pytest.mark.parametrize("part", PARTS)
def test_an_old_part_that_raises_does_not_keep_the_old_client(
    go: Run, sink: Sink, part: str, name: str
) -> None:
    """What the other parts held is sent, and the process is drained."""
    ran = go(
        """
        before = start()
        part = getattr(sentry_sdk.get_client(), os.environ["PART"])
        if part is None:  # the oldest SDK has no such part
            part = sentry_sdk.get_client().log_batcher
        with raising(part, os.environ["NAME"], after=True):
            second = publish({"SENTRY_DSN": B})
            runs(second)
        hold("after")
        back_to(before)
        sentry_sdk.flush(5)
        say(held=held())
        """,
        PART=part,
        NAME=name,
    )
    assert messages(sink, 1) == {"before": 1}
    assert messages(sink, 2) == {"after": 1}
    assert sink.count("session") == sink.count("log") == ran.said["held"]


def test_a_monitor_that_raises_does_not_keep_the_old_client(
    go: Run, sink: Sink
) -> None:
    """Reporting goes off, and what was held before is sent."""
    go(
        """
        here = {"SENTRY_ENVIRONMENT": "staging"}
        publish({"SENTRY_DSN": A, **here})
        resentry.init(**QUICK)
        hold("before")
        with raising(sentry_sdk.get_client().monitor, "kill", after=True):
            off = publish({"SENTRY_DSN": "", **here})
            runs(off)
        say()
        os._exit(0)
        """
    )
    assert messages(sink, 1) == {"before": 1}
    assert (sink.count("session", 1), sink.count("log", 1)) == (1, 1)


@pytest.mark.parametrize("how", ["no client", "a client that is built, and raises"])
def test_a_profile_goes_on_when_a_swap_fails(go: Run, sink: Sink, how: str) -> None:
    """The SDK ends a running profiler when a client is built, also one that fails."""
    ran = go(
        """
        from sentry_sdk.profiler.continuous_profiler import (
            get_profiler_id, start_profiler, stop_profiler,
        )
        QUICK.update(profile_session_sample_rate=1.0, profile_lifecycle="manual")
        PROFILING.clear()
        start()
        start_profiler()
        busy()
        with BREAKS[os.environ["HOW"]]():
            second = publish({"SENTRY_DSN": B})
            outcome = settled(second.sequence)
            eventually(get_profiler_id, what="the profile that goes on")
            busy()
            stop_profiler()
            start_profiler()
        runs(second)
        eventually(get_profiler_id)
        busy()
        stop_profiler()
        sentry_sdk.flush(5)
        say(outcome=outcome)
        """,
        HOW=how,
    )
    assert ran.said["outcome"]["sequence"] == 1
    # Stopped by hand while A served, and once more after B: each is a chunk.
    assert sink.count("profile_chunk", 1) >= 1
    assert sink.count("profile_chunk", 2) >= 1


def test_the_first_client_serves_although_setting_it_raised(
    go: Run, sink: Sink
) -> None:
    """There is no other one to go back to; the receipt names what runs."""
    ran = go(
        """
        first = publish({"SENTRY_DSN": A})
        with BREAKS["set, and raises"]():
            resentry.init(**QUICK)
            outcome = settled(first.sequence)
        runs(first)
        hold("after")
        sentry_sdk.flush(5)
        say(outcome=outcome)
        """,
    )
    if ran.said["outcome"]["sequence"] == 1:
        assert ran.said["outcome"]["dsn"] == sink.dsn(1)
    else:
        assert ran.said["outcome"]["error"]
    assert messages(sink, 1) == {"after": 1}


def test_a_swap_that_fails_in_the_fallback_is_all_or_nothing(
    go: Run, sink: Sink
) -> None:
    """An sentry-sdk that is not known changes nothing about it."""
    ran = go(
        """
        publish({"SENTRY_DSN": A})
        resentry.init(**QUICK)
        with BREAKS["set, and raises"]():
            second = publish({"SENTRY_DSN": B})
            outcome = settled(second.sequence)
            sentry_sdk.capture_message("during")
        runs(second)
        sentry_sdk.capture_message("after")
        sentry_sdk.flush(5)
        say(outcome=outcome)
        """,
        first="import sentry_sdk\nsentry_sdk.VERSION = '3.1.0'\n",
    )
    served_by = ran.said["outcome"]["sequence"]
    assert ran.said["outcome"]["dsn"] == sink.dsn(served_by)
    assert messages(sink, 1, 2) == {"during": 1, "after": 1}
    assert messages(sink, served_by)["during"] == 1
