"""What rules, ceilings and budgets cost, beside samplers that return a constant.

A transaction in both of the SDK's trace modes, started and ended, and an error, captured up
to the transport. Once with the SDK and samplers of one line; once with 50 rules, of which none fits,
11 ceilings and a budget; and once with the most rules that a snapshot may hold. All take
turns in one process. Run by `make bench-sampling`: it writes bench/results/sampling.json,
and exits 1 if a ratio is above its limit.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk import scope as sdk_scope
from sentry_sdk.tracing import Transaction

from bench.report import Section, measured, say, table, write
from resentry.contract import (
    ERROR_RULES_LIMIT,
    RULES_LIMIT,
    Budget,
    Ceiling,
    ErrorRule,
    Rule,
    Snapshot,
)
from resentry.error_sampling import ErrorSampler
from resentry.sampling import Sampler
from resentry.sdk import tracing

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3000
RATE = 0.01
"""The median trace is not sampled, and its rate is not 0: each bound is looked at."""
LIMITS = {"traces": (1.25, 1.5), "errors": (1.1, 1.2)}
"""For 50 rules, and for the most."""
CONTEXT = {
    "asgi_scope": {"method": "GET", "path": "/shop/courses/42", "root_path": "/shop"}
}
NAME = "GET /courses/{course}"
DECISIONS = [
    (Transaction, "_set_initial_sampling_decision"),
    (Transaction, "finish"),
    (sdk_scope, "_make_sampling_decision"),
]
"""What decides in the SDK, and what the library wraps, once in a process."""


class Subject(NamedTuple):
    """A client, and the SDK's decisions with or without ours around them."""

    client: sentry_sdk.Client
    decisions: list[Any]

    def take_over(self) -> None:
        """Let this client decide."""
        sentry_sdk.get_global_scope().set_client(self.client)
        for (owner, name), decision in zip(DECISIONS, self.decisions, strict=True):
            setattr(owner, name, decision)


def subject(rules: int, *, stream: bool) -> Subject:
    """Make a client that sends nowhere; with rules it has ceilings and budgets, too."""
    snapshot = Snapshot(
        {},
        rules=tuple(Rule(f"GET /area-{n}/*", 0.5) for n in range(rules)),
        ceilings=(
            *(Ceiling(0.1, 0.1, match=f"GET /other-{n}/*") for n in range(10)),
            Ceiling(0.9, 1.0),
        ),
        errors=tuple(
            ErrorRule(f"app.errors.Kind{n}", rate=0.1)
            for n in range(min(rules, ERROR_RULES_LIMIT))
        ),
        budgets=(Budget(1_000_000, 1_000_000),),
    )
    options: dict[str, Any] = {"traces_sample_rate": RATE}
    if rules:
        options["error_sampler"] = ErrorSampler(snapshot, "api", 1.0)
    else:
        options = {"traces_sampler": constant, "error_sampler": every}
    if stream:
        options["trace_lifecycle"] = "stream"
    client = sentry_sdk.Client(
        dsn="http://0123456789abcdef@127.0.0.1:1/1",
        transport=lambda _envelope: None,
        default_integrations=False,
        enable_backpressure_handling=False,
        **options,
    )
    if rules:
        tracing.follow(client, Sampler(snapshot, "api"))
    return Subject(client, [getattr(owner, name) for owner, name in DECISIONS])


def constant(_context: Any) -> float:
    """Be the `traces_sampler` of an application."""
    return RATE


def every(_event: Any, _hint: Any) -> float:
    """Be the `error_sampler` of an application."""
    return 1.0


def transaction() -> None:
    """Start and end one."""
    with sentry_sdk.start_transaction(
        name=NAME, op="http.server", custom_sampling_context=CONTEXT
    ):
        pass


def streamed() -> None:
    """Start and end the first span of a trace, as the SDK's integrations do."""
    sentry_sdk.traces.new_trace()
    sentry_sdk.Scope.set_custom_sampling_context(CONTEXT)
    with sentry_sdk.traces.start_span(name=NAME, parent_span=None):
        pass


def error() -> None:
    """Capture one."""
    try:
        raise LookupError(NAME)
    except LookupError:
        sentry_sdk.capture_exception()


ROWS: dict[str, tuple[Callable[[], None], bool, str]] = {
    "transaction": (transaction, False, "traces"),
    "streamed": (streamed, True, "traces"),
    "error": (error, False, "errors"),
}
"""What is done once, whether spans are streamed, and which limits hold."""
TITLES = {
    "transaction": "transaction",
    "streamed": "first span of a streamed trace",
    "error": "error",
}
SUBJECTS = {"constant": 0, "fifty": 50, "most": RULES_LIMIT}
COLUMNS = {
    "constant, µs": "figures/{}/constant",
    "50 rules, µs": "figures/{}/fifty",
    "ratio": "figures/{}/ratio",
    "goal": "figures/{}/limit",
    "most rules, µs": "figures/{}/most",
    "their ratio": "figures/{}/ratio_of_most",
}
SECTIONS = (
    Section(
        "sampling",
        "What rules, ceilings and budgets cost",
        "One transaction, started and ended, and one error, captured up to the transport: "
        "by samplers that return a constant, with 50 rules that do not fit, 11 ceilings and "
        "a budget, and with the most rules that a snapshot may hold.",
        COLUMNS,
        TITLES,
    ),
)


def measure(once: Callable[[], None], *, stream: bool) -> dict[str, float]:
    """Return the median microseconds of each subject; all take turns."""
    subjects = {n: subject(rules, stream=stream) for n, rules in SUBJECTS.items()}
    took: dict[str, list[int]] = {name: [] for name in subjects}
    for _ in range(ROUNDS):
        for name, each in subjects.items():
            each.take_over()
            began = time.perf_counter_ns()
            once()
            took[name].append(time.perf_counter_ns() - began)
    return {name: statistics.median(times) / 1000 for name, times in took.items()}


def main() -> int:
    """Measure, print, write; return 1 if something costs more than it may."""
    originals = [getattr(owner, name) for owner, name in DECISIONS]
    figures: dict[str, dict[str, float]] = {}
    for row, (once, stream, kind) in ROWS.items():
        for (owner, name), original in zip(DECISIONS, originals, strict=True):
            setattr(owner, name, original)  # the constant rate's client sees no wrapper
        say(TITLES[row])
        found = measure(once, stream=stream)
        fifty, most = LIMITS[kind]
        figures[row] = {
            **{name: round(value, 2) for name, value in found.items()},
            "ratio": round(found["fifty"] / found["constant"], 3),
            "limit": fifty,
            "ratio_of_most": round(found["most"] / found["constant"], 3),
            "limit_of_most": most,
        }
    print(table(figures, {name: name for name in next(iter(figures.values()))}))
    write("sampling", {"measured": measured(), "figures": figures})
    return int(
        any(
            each["ratio"] > each["limit"]
            or each["ratio_of_most"] > each["limit_of_most"]
            for each in figures.values()
        )
    )


if __name__ == "__main__":
    sys.exit(main())
