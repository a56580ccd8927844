"""A server's rate limit holds for its DSN, however often the client is replaced."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from arrivals import messages

from lab.sink import Sink, key_of

pytestmark = pytest.mark.process


Run = Callable[..., Any]

ALL = {"Retry-After": "60"}
ALL_OF_LATE = {"X-Sentry-Rate-Limits": "60::organization"}
ERRORS = {"X-Sentry-Rate-Limits": "60:error;default:key"}

STEPS = """
import time
from mishaps import in_a_child

A, B = os.environ["A"], os.environ["B"]
SETTINGS = {"SENTRY_DSN": A, "SENTRY_TRACES_SAMPLE_RATE": 1.0}

def capture(text):
    sentry_sdk.capture_message(text)
    sentry_sdk.flush(5)

def start_limited():
    "The server answers 429 to the first event."
    publish(SETTINGS)
    resentry.init(**QUICK)
    capture("limited")

def swap(number, **settings):
    take_up({**SETTINGS, "SENTRY_SAMPLE_RATE": 1 - number / 1e6, **settings})
"""


@pytest.fixture
def go(go: Run, sink: Sink) -> Run:
    """Run a script with two keys of one project."""
    return functools.partial(go, B=sink.dsn(1, key_of(1, 1)))


@pytest.mark.parametrize("headers", [ALL, ALL_OF_LATE], ids=["old", "new"])
def test_ten_swaps_of_a_rate_send_no_further_request(
    go: Run, sink: Sink, headers: dict[str, str]
) -> None:
    """One 429 is enough: no client after it asks again, with whatever kind."""
    sink.answer(1, 429, headers=headers)
    go(
        """
        QUICK["enable_logs"] = True
        start_limited()
        for number in range(10):
            swap(number)
            capture(str(number))
            sentry_sdk.logger.info("a line")
            with sentry_sdk.start_transaction(name="work"):
                pass
        sentry_sdk.flush(5)
        say()
        """
    )
    assert sink.answered(429) == 1


def test_a_limit_of_one_kind_lets_the_others_pass(go: Run, sink: Sink) -> None:
    """Errors are limited over all swaps, transactions are not."""
    sink.answer(1, "ok", headers=ERRORS)
    go(
        """
        start_limited()
        for number in range(5):
            swap(number)
            capture(str(number))
            with sentry_sdk.start_transaction(name="work"):
                pass
        sentry_sdk.flush(5)
        say()
        """
    )
    assert messages(sink, 1) == ["limited"]
    assert len(sink.transactions(1)) == 5


def test_an_explicit_init_keeps_the_limit(go: Run, sink: Sink) -> None:
    """Another role or option is no new right to send."""
    sink.answer(1, 429, headers=ALL)
    go(
        """
        start_limited()
        for number in range(5):
            resentry.init(role="celery", **QUICK)
            capture(str(number))
        say()
        """
    )
    assert sink.answered(429) == 1


def test_a_limit_that_comes_after_the_swap_holds_too(go: Run, sink: Sink) -> None:
    """The old client's last request is answered 429; the new client has its DSN."""
    sink.answer(1, 429, headers=ALL, seconds=0.5)
    go(
        """
        publish(SETTINGS)
        resentry.init(**QUICK)
        sentry_sdk.capture_message("answered late")
        swap(1)  # returns when the old client is drained
        capture("after")
        swap(2)
        capture("after")
        say()
        """
    )
    assert sink.answered(429) == 1


def test_another_dsn_is_not_limited(go: Run, sink: Sink) -> None:
    """The limit is the first key's alone."""
    sink.answer(1, 429, headers=ALL, key=key_of(1))
    go(
        """
        start_limited()
        swap(1, SENTRY_DSN=B)
        capture("by the other key")
        say()
        """
    )
    assert messages(sink, 1) == ["by the other key"]
    assert sink.answered(429) == 1


def test_the_limit_is_still_known_when_its_dsn_comes_back(go: Run, sink: Sink) -> None:
    """There and back is no way around it."""
    sink.answer(1, 429, headers=ALL, key=key_of(1))
    go(
        """
        start_limited()
        swap(1, SENTRY_DSN=B)
        swap(2)
        capture("back at the first key")
        say()
        """
    )
    assert sink.answered(429) == 1


def test_a_forked_child_keeps_the_limit(go: Run, sink: Sink) -> None:
    """It sends nothing either, neither before its first swap nor after."""
    sink.answer(1, 429, headers=ALL)
    go(
        """
        start_limited()
        def work():
            capture("child")
            swap(1)
            capture("child, after a swap")
        in_a_child(work)
        in_a_child(lambda: capture("a second child"))
        say()
        """
    )
    assert sink.answered(429) == 1


def test_a_limit_ends_when_its_time_is_over(go: Run, sink: Sink) -> None:
    """It is kept, not prolonged: events are sent again, also after a swap."""
    sink.answer(1, 429, headers={"Retry-After": "2"})
    go(
        """
        start_limited()
        over = time.monotonic() + 3
        swap(1)
        while True:  # a limit ends at a time, not with a condition
            capture("again")
            if time.monotonic() > over:
                break
            time.sleep(0.1)
        say()
        """
    )
    assert sink.answered(429) == 2
