"""What applications do beside: odd starts, hooks that raise, experiments, a sick receiver."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import sentry_sdk
from program import (
    ask_runner,
    case,
    main,
    pause,
    report,
    report_twice,
    rest,
    say,
    start,
    work,
    work_twice,
)
from sentry_sdk.integrations import Integration


def broken(*_: Any) -> Any:
    raise RuntimeError("a hook that raises")


class Marking(Integration):
    identifier = "marking"
    times = 0

    @staticmethod
    def setup_once() -> None:
        Marking.times += 1


@case("init again, with an integration more")
def second_init() -> None:
    report_twice()
    # Whether sentry-sdk alone still sends what its first client has queued is chance.
    sentry_sdk.flush()
    start(integrations=[Marking()])
    report_twice()
    say(times=Marking.times)


@case("client copied and pickled")
def copied() -> None:
    client = sentry_sdk.get_client()
    for again in (
        copy.copy(client),
        copy.deepcopy(client),
        pickle.loads(pickle.dumps(client)),
    ):
        say(active=again.is_active())
    report_twice()


@case("hooks that raise: events", before_send=broken, before_breadcrumb=broken)
def broken_events() -> None:
    sentry_sdk.add_breadcrumb(message="step")
    report_twice()


@case("hooks that raise: transactions", before_send_transaction=broken)
def broken_transactions() -> None:
    work_twice()


@case(
    "hooks that raise: logs and metrics",
    before_send_log=broken,
    before_send_metric=broken,
    enable_logs=True,
)
def broken_telemetry() -> None:
    for _ in range(2):
        sentry_sdk.logger.info("one")
        sentry_sdk.metrics.count("lessons", 1)
        pause()


def change_and_raise(span: Any, _: Any) -> Any:
    span["name"] = "changed"
    span["attributes"]["changed"] = True
    raise RuntimeError("a hook that raises")


@case(
    "hooks that raise: spans",
    before_send_span=change_and_raise,
    trace_lifecycle="stream",
)
def broken_spans() -> None:
    for name in ("one", "two"):
        sentry_sdk.traces.new_trace()
        with sentry_sdk.traces.start_span(name=name):
            pause()


@case("samplers that raise", traces_sampler=broken)
def broken_sampler() -> None:
    report_twice()
    work()


@case("error sampler that raises", error_sampler=broken)
def broken_error_sampler() -> None:
    report_twice()


@case(
    "experiments: logs, metrics, flags",
    _experiments={
        "enable_logs": True,
        "before_send_log": lambda log, _: {**log, "body": "hooked"},
        "before_send_metric": lambda metric, _: {**metric, "name": "hooked"},
        "max_flags": 1,
    },
)
def experiments_telemetry() -> None:
    for number in range(2):
        sentry_sdk.logger.info("one")
        sentry_sdk.metrics.count("lessons", 1)
        sentry_sdk.feature_flags.add_feature_flag(f"flag {number}", result=True)
        report()
        pause()


@case("experiments: span streaming", _experiments={"trace_lifecycle": "stream"})
def experiments_stream() -> None:
    for name in ("one", "two"):
        sentry_sdk.traces.new_trace()
        with sentry_sdk.traces.start_span(name=name):
            pause()


@case(
    "experiments: profile from the start",
    _experiments={"continuous_profiling_auto_start": True},
    profile_session_sample_rate=1.0,
)
def experiments_profile() -> None:
    rest()
    pause()
    report()


@case("experiments: HTTP/2", _experiments={"transport_http2": True})
def experiments_http2() -> None:
    report_twice()


@case("no release: none given, none found", release=None)
def unreleased() -> None:
    report_twice()
    report_twice()


@case("release found by the SDK", release=None, environ={"SOURCE_VERSION": "lms@9"})
def found_release() -> None:
    report_twice()
    work()


TRACE = "771a43a4192642f0b136d5159a501700"


@case(
    "trace given by the environment",
    environ={
        "SENTRY_TRACE": f"{TRACE}-7a1b5d5f1a2b3c4d-1",
        "SENTRY_BAGGAGE": f"sentry-trace_id={TRACE},sentry-sample_rate=0.5",
    },
)
def environment_trace() -> None:
    report_twice()
    work()


@case("subprocess, its trace and its breadcrumb")
def child_process() -> None:
    code = "import os; print(os.environ['SUBPROCESS_SENTRY_TRACE'][:6] != '')"
    for _ in range(2):
        with sentry_sdk.start_transaction(name="calling"):
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, check=True, capture_output=True)
            say(told=done.stdout.decode().strip())
        report()
        pause()


def refused(status: int) -> None:
    """Report while the receiver refuses all, and again when it takes them."""
    pause()
    ask_runner("stay")
    ask_runner(f"answer {status}")
    report()
    work()
    sentry_sdk.flush()
    report()


@case("receiver answers 500")
def answered_500() -> None:
    refused(500)


@case("receiver answers 413")
def answered_413() -> None:
    refused(413)


@case("receiver answers 429")
def answered_429() -> None:
    refused(429)


if __name__ == "__main__":
    main()
