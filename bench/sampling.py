"""What 50 and 200 rules cost: a whole `start_transaction`, beside one without rules.

Run by `make bench-sampling`. Prints medians of one run and their ratios; writes
bench/results/sampling.json; exits 1 if the ratio of 50 rules is above 1.25, or that of
200, the most that a snapshot may hold, above 1.5.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any, NamedTuple

import sentry_sdk
from sentry_sdk.tracing import Transaction

from bench.report import Section, measured, write
from resentry.contract import RULES_LIMIT, Rule, Snapshot
from resentry.sampling import Sampler
from resentry.sdk import tracing

LIMITS = {"50 rules": 1.25, f"{RULES_LIMIT} rules": 1.5}
ROUNDS = 4000
DECISION = "_set_initial_sampling_decision"
CONTEXT = {
    "asgi_scope": {"method": "GET", "path": "/shop/courses/42", "root_path": "/shop"}
}


class Subject(NamedTuple):
    """A client, and the SDK's decision with or without ours around it."""

    client: sentry_sdk.Client
    decision: Any


def subject(rules: int) -> Subject:
    """Make a client that sends nowhere, with so many rules of which none matches."""
    client = sentry_sdk.Client(
        dsn="http://0123456789abcdef@127.0.0.1:1/1",
        traces_sample_rate=0.0,
        transport=lambda _envelope: None,
        default_integrations=False,
        enable_backpressure_handling=False,
    )
    if rules:
        found = tuple(Rule(match=f"GET /area-{n}/*", traces=0.5) for n in range(rules))
        tracing.follow(client, Sampler(Snapshot({}, rules=found), "api"))
    return Subject(client, getattr(Transaction, DECISION))


def once() -> float:
    """Start and end one transaction; return its nanoseconds."""
    began = time.perf_counter_ns()
    with sentry_sdk.start_transaction(
        name="GET /courses/{course}", op="http.server", custom_sampling_context=CONTEXT
    ):
        pass
    return time.perf_counter_ns() - began


SECTIONS = (
    Section(
        "sampling",
        "What sampling rules cost",
        "One transaction, started and ended, with so many rules.",
        {
            "µs": "microseconds/{}",
            "ratio": "ratios/{}",
            "goal": "limits/{}",
        },
        {name: name for name in ("no rules", *LIMITS)},
    ),
)


def main() -> int:
    """Measure all in turns, so that they see the same machine."""
    subjects = {"no rules": subject(0), "50 rules": subject(50)}
    subjects[f"{RULES_LIMIT} rules"] = subject(RULES_LIMIT)
    took: dict[str, list[float]] = {name: [] for name in subjects}
    scope = sentry_sdk.get_global_scope()
    for _ in range(ROUNDS):
        for name, (client, decision) in subjects.items():
            scope.set_client(client)
            setattr(Transaction, DECISION, decision)
            took[name].append(once())
    medians = {name: statistics.median(times) / 1000 for name, times in took.items()}
    ratios = {name: medians[name] / medians["no rules"] for name in LIMITS}
    for name, median in medians.items():
        ratio = ratios.get(name, 1.0)
        print(f"{name:10} {median:8.1f} us per transaction, ratio {ratio:.2f}")
    write(
        "sampling",
        {
            "measured": measured(),
            "microseconds": medians,
            "ratios": ratios,
            "limits": LIMITS,
        },
    )
    return int(any(ratios[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    sys.exit(main())
