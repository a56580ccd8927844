"""What 50 rules cost: a whole `start_transaction`, beside one with a constant sampler.

Run by `make bench-sampling`. Prints medians of one run and their ratio; writes
bench/results/sampling.json; exits 1 if the ratio is above 1.25.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import sentry_sdk

from resentry.contract import Rule, Snapshot
from resentry.sampling import Sampler

LIMIT = 1.25
ROUNDS = 4000
RESULTS = Path(__file__).parent / "results" / "sampling.json"


def client(sampler: Any) -> sentry_sdk.Client:
    """A client that samples, and sends nowhere."""
    return sentry_sdk.Client(
        dsn="http://0123456789abcdef@127.0.0.1:1/1",
        traces_sampler=sampler,
        transport=lambda _envelope: None,
        default_integrations=False,
        enable_backpressure_handling=False,
    )


def once(context: dict[str, Any]) -> float:
    """Start and end one transaction; return its nanoseconds."""
    began = time.perf_counter_ns()
    with sentry_sdk.start_transaction(
        name="GET /courses/{course}", op="http.server", custom_sampling_context=context
    ):
        pass
    return time.perf_counter_ns() - began


def main() -> int:
    """Measure both in turns, so that both see the same machine."""
    rules = tuple(Rule(match=f"GET /area-{n}/*", traces=0.5) for n in range(50))
    with_rules = client(Sampler(Snapshot({}, rules=rules), "api"))
    constant = client(lambda _context: 0.0)
    context = {"asgi_scope": {"method": "GET", "path": "/courses/42"}}
    took: dict[str, list[float]] = {"constant": [], "50 rules": []}
    scope = sentry_sdk.get_global_scope()
    for _ in range(ROUNDS):
        for name, chosen in (("constant", constant), ("50 rules", with_rules)):
            scope.set_client(chosen)
            took[name].append(once(context))
    medians = {name: statistics.median(times) / 1000 for name, times in took.items()}
    ratio = medians["50 rules"] / medians["constant"]
    for name, median in medians.items():
        print(f"{name:10} {median:8.1f} us per transaction, median of {ROUNDS}")
    print(f"ratio      {ratio:8.2f} (limit {LIMIT})")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"microseconds": medians, "ratio": ratio, "limit": LIMIT}) + "\n"
    )
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
