"""Nothing that a client held is lost when another one takes its place.

`drained` is the proof: a process that ends without a goodbye right after it has sent
everything, whatever the kind.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from sentry_sdk.consts import DEFAULT_OPTIONS

from lab.sink import Sink

pytestmark = pytest.mark.process


Run = Callable[..., Any]

STREAMS = "trace_lifecycle" in DEFAULT_OPTIONS
METRICS = "enable_metrics" in DEFAULT_OPTIONS


class Kind(NamedTuple):
    """Something that a client holds: how to make it, and what must arrive of it."""

    item: str
    amount: int
    begin: str
    """Begins it, before the swap."""
    end: str = ""
    """Ends it, before the swap or after."""
    options: str = ""
    parts: int = 1
    """In how many a swap cuts it: a profile goes by the client that sampled it."""


KINDS = {
    "session": Kind(
        "session",
        1,
        "scope = sentry_sdk.get_isolation_scope(); scope.start_session()",
        "scope.end_session()",
    ),
    "request session": Kind(
        "session",
        1,
        "scope = sentry_sdk.get_isolation_scope();"
        "scope.start_session(session_mode='request')",
        "scope.end_session()",
    ),
    "profile": Kind(
        "profile",
        1,
        "work = sentry_sdk.start_transaction(name='work'); work.__enter__(); busy()",
        "busy(); work.__exit__(None, None, None)",
        "SETTINGS.update(SENTRY_TRACES_SAMPLE_RATE=1.0, SENTRY_PROFILES_SAMPLE_RATE=1.0)",
    ),
    "profile by hand": Kind(
        "profile_chunk",
        1,
        "from sentry_sdk.profiler.continuous_profiler import *; start_profiler(); busy()",
        "busy(); stop_profiler()",
        "QUICK.update(profile_session_sample_rate=1.0, profile_lifecycle='manual')",
        parts=2,
    ),
    "profile of traces": Kind(
        "profile_chunk",
        1,
        "work = sentry_sdk.start_transaction(name='work'); work.__enter__(); busy()",
        "busy(); work.__exit__(None, None, None)",
        "QUICK.update(profile_session_sample_rate=1.0, profile_lifecycle='trace');"
        "SETTINGS['SENTRY_TRACES_SAMPLE_RATE'] = 1.0",
        parts=2,
    ),
    "check-in": Kind(
        "check_in",
        2,
        "job = sentry_sdk.crons.monitor(monitor_slug='job'); job.__enter__()",
        "job.__exit__(None, None, None)",
    ),
    "log": Kind(
        "log", 20, "for n in range(20): sentry_sdk.logger.info('line')", "", "LOGS"
    ),
    "event": Kind(
        "event", 20, "for n in range(20): sentry_sdk.capture_message(str(n))"
    ),
    "attachment": Kind(
        "attachment",
        1,
        "sentry_sdk.get_isolation_scope().add_attachment(bytes=b'x', filename='x');"
        "sentry_sdk.capture_message('with it')",
    ),
    "transaction": Kind(
        "transaction",
        1,
        "work = sentry_sdk.start_transaction(name='work'); work.__enter__()",
        "work.__exit__(None, None, None)",
        "SETTINGS['SENTRY_TRACES_SAMPLE_RATE'] = 1.0",
    ),
}
if METRICS:
    KINDS["metric"] = Kind(
        "trace_metric", 20, "for n in range(20): sentry_sdk.metrics.count('it', 1)"
    )
if STREAMS:
    KINDS["streamed span"] = Kind(
        "span",
        2,
        "work = sentry_sdk.traces.start_span(name='work'); work.__enter__();"
        "part = sentry_sdk.traces.start_span(name='part'); part.__enter__()",
        "part.__exit__(None, None, None); work.__exit__(None, None, None)",
        "QUICK['trace_lifecycle'] = 'stream'; SETTINGS['SENTRY_TRACES_SAMPLE_RATE'] = 1.0",
    )

STEPS = """
import sentry_sdk.crons
from mishaps import busy

HERE = {"SENTRY_ENVIRONMENT": "staging"}
SETTINGS = {"SENTRY_DSN": os.environ["A"], **HERE}
LOGS = QUICK["enable_logs"] = True

NEXT = {
    "rate": {"SENTRY_SAMPLE_RATE": 0.999999},
    "DSN": {"SENTRY_DSN": os.environ["B"]},
    "environment": {"SENTRY_DSN": os.environ["B"], "SENTRY_ENVIRONMENT": "test"},
    "off": {"SENTRY_DSN": ""},
}

def swap(how):
    take_up({**SETTINGS, **NEXT[how]})
"""


@pytest.fixture
def go(go: Run, sink: Sink) -> Run:
    """Run a script whose first project is slow."""
    sink.answer(1, "ok", seconds=0.01)
    return go


@pytest.mark.parametrize("how", ["rate", "DSN", "environment", "off"])
@pytest.mark.parametrize("name", KINDS)
def test_what_a_client_holds_is_sent_before_it_is_drained(
    go: Run, sink: Sink, name: str, how: str
) -> None:
    """Captured before the swap, held back by a part or in the queue: it is in A."""
    kind = KINDS[name]
    go(
        """
        exec(os.environ["OPTIONS"])
        publish(SETTINGS)
        resentry.init(**QUICK)
        exec(os.environ["BEGIN"])
        exec(os.environ["END"])
        swap(os.environ["HOW"])
        say()
        os._exit(0)
        """,
        OPTIONS=kind.options,
        BEGIN=kind.begin,
        END=kind.end,
        HOW=how,
    )
    assert (sink.count(kind.item, 1), sink.count(kind.item, 2)) == (kind.amount, 0)
    assert sink.duplicates() == 0
    assert sink.client_reports() == {}


@pytest.mark.parametrize("how", ["rate", "DSN", "environment"])
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.end])
def test_what_begins_under_one_client_and_ends_under_the_next_is_sent_once(
    go: Run, sink: Sink, name: str, how: str
) -> None:
    """A session, a profile, a check-in, a transaction: none is dropped or doubled."""
    kind = KINDS[name]
    go(
        """
        exec(os.environ["OPTIONS"])
        publish(SETTINGS)
        resentry.init(**QUICK)
        exec(os.environ["BEGIN"])
        swap(os.environ["HOW"])
        exec(os.environ["END"])
        sentry_sdk.flush(5)
        swap("off")
        say()
        os._exit(0)
        """,
        OPTIONS=kind.options,
        BEGIN=kind.begin,
        END=kind.end,
        HOW=how,
    )
    assert sink.count(kind.item) == kind.amount * kind.parts
    assert sink.duplicates() == 0


def test_a_chunk_of_each_client_s_time_arrives(go: Run, sink: Sink) -> None:
    """Over several swaps a profile that runs by hand has no hole: a chunk in each."""
    kind = KINDS["profile by hand"]
    go(
        """
        exec(os.environ["OPTIONS"])
        publish(SETTINGS)
        resentry.init(**QUICK)
        exec(os.environ["BEGIN"])
        for how in ("DSN", "rate", "DSN", "rate"):
            swap(how)
            busy()
        exec(os.environ["END"])
        sentry_sdk.flush(5)
        swap("off")
        say()
        os._exit(0)
        """,
        OPTIONS=kind.options,
        BEGIN=kind.begin,
        END=kind.end,
    )
    # A, B, A, B, A: the first of A begins before the swaps.
    assert (sink.count("profile_chunk", 1), sink.count("profile_chunk", 2)) == (3, 2)
