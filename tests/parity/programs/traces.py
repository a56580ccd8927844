"""What is decided about a trace, and what other services are told of it."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import sentry_sdk
from program import case, main, other, pause, report, say

if TYPE_CHECKING:
    from collections.abc import Mapping

TRACE = "771a43a4192642f0b136d5159a501700"


def incoming(
    sampled: str, rate: str = "0.25", rand: str = "0.125000"
) -> dict[str, str]:
    """Headers of a caller that has decided."""
    decided = {"1": "true", "0": "false"}.get(sampled)
    parts = {
        "trace_id": TRACE,
        "sample_rate": rate,
        "sample_rand": rand,
        "environment": "elsewhere",
        "public_key": "49d0f7386ad645858ae85020e393bef3",
        "transaction": "checkout",
        "sampled": decided,
    }
    baggage = ",".join(
        f"sentry-{name}={value}" for name, value in parts.items() if value
    )
    suffix = f"-{sampled}" if sampled else ""
    return {
        "sentry-trace": f"{TRACE}-7a1b5d5f1a2b3c4d{suffix}",
        "baggage": f"{baggage},other=1",
    }


def fetch() -> None:
    urllib.request.urlopen(other("/lesson")).close()


def serve(headers: Mapping[str, str]) -> None:
    """Continue a trace, ask another service, fail."""
    root = sentry_sdk.continue_trace(
        dict(headers), op="http.server", name="GET /lesson"
    )
    with sentry_sdk.start_transaction(root) as transaction:
        say(sampled=transaction.sampled, rate=getattr(transaction, "sample_rate", None))
        fetch()
        pause()
        fetch()
        report()


def serve_all() -> None:
    """A caller that wants the trace, one that does not, one that leaves it open."""
    for sampled in ("1", "0", ""):
        with sentry_sdk.isolation_scope():
            serve(incoming(sampled))
        pause()
    with sentry_sdk.isolation_scope():
        serve({})


@case("trace of a caller, rate 1")
def called_at_1() -> None:
    serve_all()


@case("trace of a caller, rate 0", traces_sample_rate=0.0)
def called_at_0() -> None:
    serve_all()


@case("trace of a caller, rate between", traces_sample_rate=0.01337)
def called_between() -> None:
    for sampled in ("1", "0", ""):
        with sentry_sdk.isolation_scope():
            serve(incoming(sampled))
        pause()


@case("trace of a caller, no rate", traces_sample_rate=None)
def called_unset() -> None:
    serve_all()


@case("trace of a caller, own sampler", traces_sampler=lambda _: 0.5)
def called_sampler() -> None:
    for sampled in ("1", "0", ""):
        with sentry_sdk.isolation_scope():
            serve(incoming(sampled))
        pause()


@case(
    "trace of a caller, sampler that follows it",
    traces_sampler=lambda c: c["parent_sampled"] or 0.0,
)
def called_follows() -> None:
    serve_all()


@case("trace of a caller, span streaming", trace_lifecycle="stream")
def called_stream() -> None:
    for sampled in ("1", "0"):
        with sentry_sdk.isolation_scope():
            sentry_sdk.traces.continue_trace(incoming(sampled))
            with sentry_sdk.traces.start_span(name="GET /lesson"):
                fetch()
                pause()
                report()


@case("requests without a transaction")
def no_transaction() -> None:
    for _ in range(2):
        fetch()
        report()
        pause()


@case("requests without a transaction, no rate", traces_sample_rate=None)
def no_transaction_unset() -> None:
    no_transaction()
    say(headers=[name for name, _ in sentry_sdk.get_current_scope().iter_headers()])
    say(baggage="sample_rate" in (sentry_sdk.get_baggage() or ""))


@case("meta tags, traceparent and baggage by hand")
def by_hand() -> None:
    for _ in range(2):
        with sentry_sdk.start_transaction(name="page"):
            say(
                traceparent=sentry_sdk.get_traceparent(),
                baggage=sentry_sdk.get_baggage(),
            )
            pause()
            say(meta=sentry_sdk.get_current_scope().trace_propagation_meta())


@case("decorated functions")
def decorated() -> None:
    for _ in range(2):
        step()
        with sentry_sdk.start_transaction(name="steps"):
            step()
            pause()


@sentry_sdk.trace
def step() -> None:
    span = sentry_sdk.get_current_span()
    if span is not None:
        span.set_data("in", "step")


if __name__ == "__main__":
    main()
