"""Profilers belong to the process: a swap neither ends a profile nor draws again."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from payloads import KeepingSink

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STEPS = """
import itertools, threading, time
from types import SimpleNamespace
from mishaps import busy
from sentry_sdk.profiler import continuous_profiler, transaction_profiler
from sentry_sdk.profiler.continuous_profiler import (
    get_profiler_id, start_profiler, stop_profiler,
)

A, B = os.environ["A"], os.environ["B"]
HERE = {"SENTRY_ENVIRONMENT": "staging", "SENTRY_TRACES_SAMPLE_RATE": 1.0}
HAND = {"profile_session_sample_rate": 1.0, "profile_lifecycle": "manual"}
turns = itertools.count(1)

def settings(**more):
    rate = 1 - next(turns) / 1e6
    return {"SENTRY_DSN": A, **HERE, "SENTRY_SAMPLE_RATE": rate, **more}

def start(**options):
    publish(settings())
    resentry.init(**QUICK, **options)

def swap(**more):
    take_up(settings(**more))

def profiling(on):
    swap(SENTRY_PROFILES_SAMPLE_RATE=float(on))

def work():
    with sentry_sdk.start_transaction(name="work"):
        busy()
    sentry_sdk.flush(5)

class Swaps:
    "Publishes every 5 ms, in a thread, until the end of the block."
    def __init__(self, **more):
        self._more, self._ended = more, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._before = resentry.status()["sequence"]

    def _run(self):
        for at in itertools.count():
            more = {name: both[at % 2] for name, both in self._more.items()}
            publish(settings(SENTRY_DSN=(A, B)[at % 2], **more))
            if self._ended.wait(0.005):
                break

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()

    @property
    def done(self):
        return resentry.status()["sequence"] - self._before
"""


@pytest.fixture
def sink() -> Iterator[KeepingSink]:
    with KeepingSink() as running:
        yield running


def test_a_profile_runs_through_swaps_and_stays_stopped_after_them(go: Run) -> None:
    """One profiler, one id, one draw; a swap starts nothing that was stopped."""
    ran = go(
        """
        dice, real = [], continuous_profiler.random.random
        continuous_profiler.random = SimpleNamespace(
            random=lambda: dice.append(1) or real()
        )
        start(**HAND)
        scheduler = continuous_profiler._scheduler
        start_profiler()
        ids = {eventually(get_profiler_id)}
        for dsn in (B, A, "", B, A):
            swap(SENTRY_DSN=dsn)
            ids.add(get_profiler_id())
        stop_profiler()
        stopped = []
        for dsn in (B, A):
            swap(SENTRY_DSN=dsn)
            stopped.append(get_profiler_id())
        same = continuous_profiler._scheduler is scheduler
        say(ids=len(ids), stopped=stopped, same=same, dice=len(dice))
        """
    )
    assert ran.said == {"ids": 1, "stopped": [None, None], "same": True, "dice": 1}


@pytest.mark.parametrize("how", ["DSN", "profiles"])
def test_start_and_stop_hold_at_a_swap_every_five_milliseconds(
    go: Run, how: str
) -> None:
    """Neither raises; after a stop nothing is profiled, whatever is swapped meanwhile."""
    ran = go(
        """
        flips = {"SENTRY_PROFILES_SAMPLE_RATE": (0.0, 1.0)}
        start(**HAND)
        wrong = []
        with Swaps(**flips if os.environ["HOW"] == "profiles" else {}) as swaps:
            for turn in range(100):
                start_profiler()
                time.sleep(0.001 * (turn % 7))
                stop_profiler()
                if get_profiler_id() is not None:
                    wrong.append(turn)
        profiling(on=False)
        wrong += [] if get_profiler_id() is None else ["at last"]
        start_profiler()
        runs = get_profiler_id() is not None
        say(wrong=wrong, runs=runs, swaps=swaps.done)
        """,
        HOW=how,
    )
    assert ran.said["wrong"] == []
    assert ran.said["runs"]
    assert ran.said["swaps"] >= 10


def test_each_chunk_goes_by_the_client_of_its_time(go: Run, sink: KeepingSink) -> None:
    """Project and environment belong together, and each project got its part."""
    go(
        """
        start(**HAND)
        start_profiler()
        busy()
        swap(SENTRY_DSN=B, SENTRY_ENVIRONMENT="two")
        busy()
        swap(SENTRY_DSN=A, SENTRY_ENVIRONMENT="one")
        busy()
        stop_profiler()
        sentry_sdk.flush(5)
        say()
        """
    )
    found = {
        project: [
            chunk["environment"] for chunk in sink.payloads("profile_chunk", project)
        ]
        for project in (1, 2)
    }
    assert found == {1: ["staging", "one"], 2: ["two"]}


def test_a_rate_for_transactions_puts_the_other_profiler_aside(
    go: Run, sink: Sink
) -> None:
    """As with the SDK one of the two runs; off again, the one by hand goes on."""
    ran = go(
        """
        def runs(expected):
            eventually(lambda: (get_profiler_id() is not None) is expected)

        start(**HAND)
        start_profiler()
        runs(True)
        for on in (True, False, True, False):
            profiling(on)
            runs(not on)
            work()
        profiling(True)
        runs(False)
        stop_profiler()
        profiling(False)
        eventually(lambda: continuous_profiler._scheduler.sampled, what="the first one")
        runs(False)
        profiling(True)
        eventually(lambda: not continuous_profiler._scheduler.sampled)
        start_profiler()
        runs(False)
        profiling(False)
        runs(True)
        threads = [one.name for one in threading.enumerate() if "profiler" in one.name]
        say(threads=threads)
        """
    )
    assert ran.said["threads"] == ["sentry.profiler.ThreadContinuousScheduler"]
    assert sink.count("profile") == 2


def test_both_rates_at_init_are_one_profiler(go: Run, sink: Sink) -> None:
    """The one for transactions, as with the SDK."""
    ran = go(
        """
        publish(settings(SENTRY_PROFILES_SAMPLE_RATE=1.0))
        resentry.init(**QUICK, **HAND)
        start_profiler()
        work()
        say(id=get_profiler_id(), made=continuous_profiler._scheduler is not None)
        """
    )
    assert ran.said == {"id": None, "made": False}
    assert (sink.count("profile"), sink.count("profile_chunk")) == (1, 0)
