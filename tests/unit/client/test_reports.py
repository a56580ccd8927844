"""What the SDK tells of losses is told with the library as well, also at the very end."""

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from payloads import KeepingSink

pytestmark = pytest.mark.process


Run = Callable[..., Any]
WAYS = ["resentry", "swap"]

STEPS = """
import time
from sentry_sdk.integrations.atexit import AtexitIntegration

A, HOW = os.environ["A"], os.environ["HOW"]
SETTINGS = {"SENTRY_DSN": A, "SENTRY_ENVIRONMENT": "staging"}

def start(**options):
    silent = AtexitIntegration(callback=lambda pending, timeout: None)
    options = {"integrations": [silent], **QUICK, **options}
    if HOW == "plain":
        sentry_sdk.init(dsn=A, environment="staging", **options)
    else:
        publish({**SETTINGS, "SENTRY_TRACES_SAMPLE_RATE": 1.0})
        resentry.init(**options)

def swap():
    if HOW == "swap":
        take_up({**SETTINGS, "SENTRY_TRACES_SAMPLE_RATE": 0.5})

def capture(*texts):
    for text in texts:
        sentry_sdk.capture_message(text)
"""


@pytest.fixture
def sink() -> Iterator[KeepingSink]:
    with KeepingSink() as running:
        yield running


@pytest.fixture
def reported(run: Run, sink: KeepingSink, volume: str) -> Run:
    """Run a script one way; return what was reported as lost."""

    def reported(script: str, how: str, *first: int) -> dict[tuple[str, str], int]:
        sink.reset()
        sink.first = list(first)
        run(
            STEPS + textwrap.dedent(script),
            RESENTRY_DIR=f"{volume}-{how}",
            A=sink.dsn(1),
            HOW=how,
        )
        return sink.client_reports()

    return reported


HOOK = """
def hook(event, hint):
    if "drop" in event.get("message", ""):
        return None
    if "fail" in event.get("message", ""):
        raise RuntimeError("a hook")
    return event

start(before_send=hook)
"""


@pytest.mark.parametrize("how", WAYS)
def test_what_a_hook_drops_is_reported(reported: Run, how: str) -> None:
    """Before a swap, after it, and right before the end."""
    script = HOOK + textwrap.dedent("""
        capture("drop", "fail", "one")
        swap()
        capture("drop", "two")
        sentry_sdk.flush(5)
        capture("drop", "three", "fail")
        say()
    """)
    plain = reported(script, "plain")
    assert sum(plain.values()) == 5  # the oldest SDK has one reason for both
    assert reported(script, how) == plain


@pytest.mark.parametrize("how", WAYS)
def test_what_an_old_client_loses_later_is_reported(reported: Run, how: str) -> None:
    """A thread that still has it drops an event: the loss is told by the client after."""
    script = HOOK + textwrap.dedent("""
        old = sentry_sdk.get_client()
        swap()
        old.capture_event({"message": "drop"})
        sentry_sdk.flush(5)
        say()
    """)
    plain = reported(script, "plain")
    assert plain == {("before_send", "error"): 1}
    assert reported(script, how) == plain


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
def test_what_a_server_does_not_take_is_reported(
    reported: Run, status: int, how: str
) -> None:
    """Whatever its answer: counted as the SDK counts it, by the end at the latest."""
    script = """
        start()
        capture("refused", "taken")
        sentry_sdk.flush(5)
        swap()
        say()
    """
    plain = reported(script, "plain", status)
    ours = reported(script, how, status)
    if how == "swap" and status in (401, 403, 404):
        # The next client's DSN has got what this one refused.
        assert ours == {}
    else:
        assert ours == plain


@pytest.mark.parametrize("how", WAYS)
def test_what_a_full_queue_drops_is_reported(
    reported: Run, sink: KeepingSink, how: str
) -> None:
    """Nothing is missing: what arrived and what is reported are all."""
    script = """
        start(transport_queue_size=2)
        for _ in range(2):
            capture(*map(str, range(10)))
            sentry_sdk.flush(20)  # plain tells nothing while its queue is full
            swap()
        say()
    """
    sink.answer(1, "ok", seconds=0.05)
    for one in ("plain", how):
        lost = reported(script, one)
        assert set(lost) == {("queue_overflow", "error")}, one
        assert sink.count("event") + lost["queue_overflow", "error"] == 20, one


@pytest.mark.parametrize("how", WAYS)
def test_what_the_last_flush_loses_is_reported(reported: Run, how: str) -> None:
    """The server refuses what is sent at exit, and takes the report."""
    script = """
        start()
        swap()
        capture("refused at exit")
        say()
    """
    plain = reported(script, "plain", 500)
    assert plain == {("network_error", "error"): 1}
    assert reported(script, how, 500) == plain
