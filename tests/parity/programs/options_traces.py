"""Options: traces and profiles.

A case `shows` one option: without it, sentry-sdk alone sends something else.
"""

from __future__ import annotations

import sys
import threading
import time
import urllib.request
from typing import Any

import sentry_sdk
from program import case, main, other, pause, rest, say, start, work, work_twice
from sentry_sdk.profiler import transaction_profiler


def fetch(path: str = "/") -> None:
    """Ask the other service, in a transaction."""
    with sentry_sdk.start_transaction(name="fetching"):
        urllib.request.urlopen(other(path)).close()


def stream() -> None:
    for name in ("one", "two"):
        sentry_sdk.traces.new_trace()
        with sentry_sdk.traces.start_span(name=name):
            with sentry_sdk.traces.start_span(name="noise"):
                pass
            pause()


# Traces


def rate_of(context: Any) -> float:
    say(context=sorted(context), name=context["transaction_context"]["name"])
    return float(context["transaction_context"]["name"] == "wanted")


@case(shows={"traces_sampler": rate_of}, traces_sample_rate=None)
def traces_sampler() -> None:
    for name in ("wanted", "unwanted"):
        work(name)
        pause()
        work(name)


@case(shows={"profiles_sample_rate": 1.0})
def profiles_sample_rate() -> None:
    profiled()
    pause()
    profiled()


@case("profiles_sampler", shows={"profiles_sampler": lambda _: 1.0})
def profiles_sampler() -> None:
    profiled()
    pause()
    profiled()


@case(shows={"enable_tracing": True}, traces_sample_rate=None)
def enable_tracing() -> None:
    work_twice()


@case(shows={"trace_lifecycle": "stream"})
def trace_lifecycle() -> None:
    work_twice()
    stream()


@case(shows={"ignore_spans": ["noise"]}, trace_lifecycle="stream")
def ignore_spans() -> None:
    stream()


@case(shows={"instrumenter": "otel"})
def instrumenter() -> None:
    work_twice()
    sentry_sdk.capture_message("no transaction")


@case(shows={"propagate_traces": False})
def propagate_traces() -> None:
    fetch()
    pause()
    headers = sentry_sdk.Hub.current.iter_trace_propagation_headers()
    say(asked=sorted(name for name, _ in headers))


@case(shows={"trace_propagation_targets": ["elsewhere.example.org"]})
def trace_propagation_targets() -> None:
    fetch()
    pause()
    fetch()


@case(shows={"trace_ignore_status_codes": {404}})
def trace_ignore_status_codes() -> None:
    for status in (200, 404):
        with sentry_sdk.start_transaction(name=f"status {status}") as root:
            pause()
            root.set_http_status(status)


@case(shows={"functions_to_trace": [{"qualified_name": "__main__.traced"}]})
def functions_to_trace() -> None:
    for _ in range(2):
        with sentry_sdk.start_transaction(name="calls"):
            traced()
        pause()


def traced() -> None:
    depth = 0
    frame = sys._getframe()
    while frame := frame.f_back:  # type: ignore[assignment]
        depth += 1
    say(depth=depth)


INCOMING = {
    "sentry-trace": "771a43a4192642f0b136d5159a501700-7a1b5d5f1a2b3c4d-1",
    "baggage": "sentry-trace_id=771a43a4192642f0b136d5159a501700,sentry-org_id=1,"
    "sentry-sample_rate=0.25,sentry-sample_rand=0.125000,sentry-sampled=true",
}


def continued() -> None:
    for _ in range(2):
        root = sentry_sdk.continue_trace(INCOMING, name="continued")
        with sentry_sdk.start_transaction(root):
            urllib.request.urlopen(other()).close()
        pause()


@case(shows={"org_id": "42"})
def org_id() -> None:
    continued()


@case(shows={"strict_trace_continuation": True})
def strict_trace_continuation() -> None:
    continued()


@case(shows={"stream_gen_ai_spans": False})
def stream_gen_ai_spans() -> None:
    with sentry_sdk.start_transaction(name="asking"):
        pause()
        with sentry_sdk.start_span(op="gen_ai.chat", name="chat") as span:
            span.set_data("gen_ai.request.model", "a model")


@case(shows={"enable_backpressure_handling": False})
def enable_backpressure_handling() -> None:
    work()
    names = {thread.name for thread in threading.enumerate()}
    say(monitored=any("onitor" in name for name in names))
    pause()


def query(seconds: float) -> None:
    from sqlalchemy import create_engine, event, text

    engine = create_engine("sqlite://")
    rest_in_sql = ("rest", 0, lambda: time.sleep(seconds))
    event.listen(engine, "connect", lambda made, _: made.create_function(*rest_in_sql))
    with sentry_sdk.start_transaction(name="asking"), engine.connect() as connection:
        connection.execute(text("SELECT rest()"))


@case(
    shows={"enable_db_query_source": False},
    db_query_source_threshold_ms=0,
    in_app_include=["__main__"],
    starts=False,
)
def enable_db_query_source() -> None:
    queries()


# A slow machine may reach the threshold of 100 ms by chance, but never one of an hour.
@case(
    shows={"db_query_source_threshold_ms": 3_600_000},
    in_app_include=["__main__"],
    starts=False,
)
def db_query_source_threshold_ms() -> None:
    queries(seconds=0.15)


def queries(seconds: float = 0.0) -> None:
    from sentry_sdk.integrations.sqlalchemy import (
        SqlalchemyIntegration,
    )

    start(integrations=[SqlalchemyIntegration()])
    query(seconds)
    pause()
    query(seconds)


@case(
    shows={"enable_http_request_source": False},
    http_request_source_threshold_ms=0,
    in_app_include=["__main__"],
)
def enable_http_request_source() -> None:
    fetch()
    pause()
    fetch()


@case(
    shows={"http_request_source_threshold_ms": 3_600_000},
    in_app_include=["__main__"],
)
def http_request_source_threshold_ms() -> None:
    fetch("/slow")
    pause()
    fetch("/slow")


def hooked(span: Any, hint: Any) -> Any:
    span["attributes"]["hooked"] = sorted(hint)
    return span


@case(shows={"before_send_span": hooked}, trace_lifecycle="stream")
def before_send_span() -> None:
    stream()


# Profiles


def modes() -> None:
    profiled()
    scheduler = transaction_profiler._scheduler
    say(mode=scheduler and scheduler.mode)
    pause()
    profiled()


def profiled() -> None:
    with sentry_sdk.start_transaction(name="profiled"):
        rest()


@case(shows={"profiler_mode": "gevent"}, profiles_sample_rate=1.0)
def profiler_mode() -> None:
    modes()


@case("an unusable profiler_mode", profiler_mode="tread", profiles_sample_rate=1.0)
def unusable_profiler_mode() -> None:
    work_twice()


@case(shows={"profile_lifecycle": "trace"}, profile_session_sample_rate=1.0)
def profile_lifecycle() -> None:
    with sentry_sdk.start_transaction(name="profiled"):
        pause()
        rest()
    rest()  # the profiler's thread ends after the trace, and sends what it has


@case(shows={"profile_session_sample_rate": 1.0})
def profile_session_sample_rate() -> None:
    sentry_sdk.profiler.start_profiler()
    pause()
    rest()
    sentry_sdk.profiler.stop_profiler()


if __name__ == "__main__":
    main()
