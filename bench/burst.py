"""A ten-fold burst under a budget and under a throttle, on real uvicorn workers.

Run by `make bench-burst`. Prints what passed of each phase beside what should have passed;
writes bench/results/burst.json.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from bench.report import Section, measured, write
from lab.process import eventually
from lab.sink import Sink
from lab.system import System
from resentry.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKERS = 2
TRANSACTIONS, ERRORS = 180, 120
"""The budgets, per minute and process."""
THREADS = 10
BURST_PER_SECOND = 10 * WORKERS * TRANSACTIONS / 60
"""Ten times the budget of transactions."""
CALM_PER_SECOND = 1.0
CEILING = 0.05
SECONDS = 8.0
DSN_CHECK = {"RESENTRY_DSN_CHECK": "off"}


class Phase(NamedTuple):
    """What came of one phase."""

    requests: int
    seconds: float
    transactions: int
    errors: int
    transactions_due: float
    """What the budgets of the processes would let pass of these requests."""
    errors_due: float
    quiet_seconds: float
    """The longest time from one transaction to the next."""


class Burst:
    """A system under a budget, and a load for it."""

    def __init__(self, system: System, sink: Sink) -> None:
        self.system, self.sink = system, sink

    def start(self) -> None:
        """Start all of it, with a budget."""
        self.system.write(
            SENTRY_DSN=self.sink.dsn(1),
            SENTRY_TRACES_SAMPLE_RATE="1.0",
            SENTRY_SAMPLE_RATE="1.0",
            RESENTRY_BUDGETS=json.dumps(
                [{"transactions": TRANSACTIONS, "errors": ERRORS}]
            ),
        )
        self.system.start_agent(**DSN_CHECK)
        port = self.system.api_port
        self.system.api = self.system.spawn(
            *("uvicorn", "bench.burst_app:api", "--port", str(port)),
            *("--workers", str(WORKERS), "--no-access-log"),
            ready=port,
        )
        self.system.converge(WORKERS, 1)

    def phase(self, per_second: float, seconds: float = SECONDS) -> Phase:
        """Send requests evenly; return what arrived of them once all has."""
        self.sink.reset()
        served: Counter[int] = Counter()
        began = time.monotonic()
        pause = THREADS / per_second

        def ask_on(number: int) -> None:
            at = began + number * pause / THREADS
            while at < began + seconds:
                time.sleep(max(at - time.monotonic(), 0.0))
                served[self._ask()] += 1
                at = max(at + pause, time.monotonic() - 1.0)

        threads = [threading.Thread(target=ask_on, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began
        self._settle()
        moments = sorted(float(one.tags["at"]) for one in self.sink.transactions(1))
        gaps = [b - a for a, b in itertools.pairwise(moments)]
        return Phase(
            served.total(),
            took,
            len(moments),
            len(self.sink.events(1)),
            _due(served, TRANSACTIONS, took),
            _due(served, ERRORS, took),
            max(gaps, default=took),
        )

    def throttle(self, seconds: int) -> dict[str, Any]:
        """Put a ceiling over traces and errors; return it once it runs."""
        rates = ("--traces", str(CEILING), "--errors", str(CEILING))
        code, printed = self.system.run(
            *("resentry-agent", "throttle", *rates, "--for", f"{seconds}s", "--json")
        )
        assert code == 0, printed
        self.system.converge(WORKERS, 2)
        (ceiling,) = json.loads(printed)["result"]["ceilings"]
        return dict(ceiling)

    def await_end(self, ceiling: Mapping[str, Any]) -> None:
        """Return when the ceiling has ended."""
        end = datetime.fromisoformat(ceiling["until"]).timestamp()
        eventually(lambda: time.time() > end, 120, "the end of the ceiling")

    def _ask(self) -> int:
        # A connection for each request: every worker gets some.
        url = f"http://127.0.0.1:{self.system.api_port}/work"
        answer = requests.get(url, timeout=30)
        answer.raise_for_status()
        return int(answer.text)

    def _settle(self) -> None:
        """Return when nothing has arrived for a second."""
        known, since = -1, time.monotonic()
        while time.monotonic() - since < 1.0:
            now = self.sink.count("event") + self.sink.count("transaction")
            if now != known:
                known, since = now, time.monotonic()
            time.sleep(0.1)


def _due(served: Mapping[int, int], per_minute: float, seconds: float) -> float:
    budget = per_minute / 60 * seconds + Budget(per_minute).burst
    return sum(min(float(number), budget) for number in served.values())


def measure(burst: Burst) -> dict[str, Phase]:
    """Measure all phases; the agent is killed during the throttle."""
    burst.start()
    phases = {
        "calm": burst.phase(CALM_PER_SECOND),
        "burst": burst.phase(BURST_PER_SECOND),
    }
    ceiling = burst.throttle(seconds=40)
    phases["throttled"] = burst.phase(BURST_PER_SECOND)
    if burst.system.agent is not None:
        burst.system.agent.kill()
    burst.await_end(ceiling)
    phases["after the ceiling, without an agent"] = burst.phase(CALM_PER_SECOND)
    return phases


SECTIONS = (
    Section(
        "burst",
        "A burst of ten times the budget",
        "Two uvicorn workers under a budget of events per minute, and then under a "
        "ceiling as well. The agent is killed while the ceiling holds.",
        {
            name: f"{name}/{{}}"
            for name in (
                "calm",
                "burst",
                "throttled",
                "after the ceiling, without an agent",
            )
        },
        {
            "requests": "requests, each one transaction and one error",
            "transactions": "transactions that passed",
            "transactions_due": "transactions that the budget allows",
            "errors": "errors that passed",
            "errors_due": "errors that the budget allows",
        },
    ),
)


def main() -> None:
    """Measure, print and write."""
    with Sink() as sink, System() as system:
        phases = measure(Burst(system, sink))
    for name, phase in phases.items():
        print(
            f"{name}: of {phase.requests} requests in {phase.seconds:.1f} s, "
            f"{phase.transactions} transactions and {phase.errors} errors passed"
        )
    found = {name: phase._asdict() for name, phase in phases.items()}
    write("burst", {"measured": measured(), **found})


if __name__ == "__main__":
    main()
