"""A program under load whose Sentry configuration changes: the heart of swap tests.

Run as `python -m lab.load DSN ...`, with RESENTRY_DIR in the environment, so that it is a
process of its own; the caller holds the receiver and compares. The DSNs take turns; the
n-th, from 0, comes with environment `env-n` and release `release-n`. It prints one JSON
object: what was captured, and what it cost.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.integrations.modules import ModulesIntegration
from sentry_sdk.transport import HttpTransport

import resentry
from lab.leaks import anonymous_kb, resources, settled
from lab.process import eventually
from lab.swaps import METHODS, Swaps

if TYPE_CHECKING:
    from collections.abc import Callable

BUSY = 500
"""So many envelopes may wait; with more, the load holds back."""
OPEN = 5
"""Transactions that are open across each swap."""


class Load:
    """Captures from several threads until told to stop, and knows what it captured."""

    def __init__(self, threads: int, pause: float) -> None:
        self.ids: list[str | None] = []
        self.counts: Counter[str] = Counter()
        self.took_ms: list[float] = []
        self._pause = pause
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def await_total(self, events: float) -> None:
        """Return once so many events have been captured in all."""
        if self._threads:
            eventually(lambda: len(self.ids) >= events, 600, f"{events} events")

    def _run(self) -> None:
        turn = 0
        while not self._stop.wait(self._pause):
            if waiting() < BUSY:
                self.capture()
                turn += 1
                if turn % 10 == 0:
                    self.capture_others()

    def capture(self) -> None:
        """Capture one event."""
        began = time.perf_counter()
        event = sentry_sdk.capture_message("under load")
        self.took_ms.append((time.perf_counter() - began) * 1000)
        self.ids.append(event)

    def capture_others(self) -> None:
        """Capture one transaction, log, metric and session."""
        with sentry_sdk.start_transaction(name="work", op="load"):
            time.sleep(self._pause)
        sentry_sdk.logger.info("a line")
        sentry_sdk.metrics.count("lines", 1)
        with sentry_sdk.isolation_scope() as scope:
            scope.start_session()
            scope.end_session()
        self.count("transaction", "log", "trace_metric", "session")

    def count(self, *kinds: str) -> None:
        with self._lock:
            self.counts.update(kinds)


def waiting() -> int:
    """Return how many envelopes the current client has yet to send."""
    transport: Any = sentry_sdk.get_client().transport
    if isinstance(transport, HttpTransport):
        queue: Any = vars(transport._worker)["_queue"]  # noqa: SLF001
        return int(queue.qsize())
    return transport.pending if transport else 0


def slow(seconds: float) -> Callable[[Any, Any], Any]:
    """Return a `before_send` that takes its time, where a naive swap loses most."""

    def before_send(event: Any, _hint: Any) -> Any:
        time.sleep(seconds)
        return event

    return before_send


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m lab.load")
    parser.add_argument("dsn", nargs="+")
    parser.add_argument("--method", choices=METHODS, default="resentry")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--events", type=int, default=2000, help="in all, at least")
    parser.add_argument("--threads", type=int, default=8, help="0: once per swap")
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--before-send", type=float, default=0.0, help="seconds")
    parser.add_argument("--resources", action="store_true", help="after each swap")
    parser.add_argument("--memory", action="store_true", help="every 100 swaps")
    return parser.parse_args()


def main() -> None:
    """Capture while the configuration changes `--swaps` times among the DSNs."""
    given = arguments()
    options: dict[str, Any] = {
        "enable_logs": True,
        "transport_queue_size": 10_000,
        "before_send": slow(given.before_send) if given.before_send else None,
        # Both are most of an event's cost, and no part of a swap.
        "disabled_integrations": [ModulesIntegration()],
        "_experiments": {"transport_compression_level": 0},
    }
    swaps = Swaps(given.method, options)
    swaps.to(0, given.dsn[0])
    load = Load(given.threads, given.pause)
    load.start()
    share = given.events / (given.swaps + 1)
    load.capture_others()
    load.await_total(min(share, 200))
    baseline = resources()
    after_swap, memory = [], []
    for swap in range(1, given.swaps + 1):
        load.await_total(swap * share)
        at = swap % len(given.dsn)
        still_open = [sentry_sdk.start_transaction(name="open") for _ in range(OPEN)]
        swaps.to(at, given.dsn[at])
        for transaction in still_open:
            transaction.finish()
            load.count("transaction")
        if not given.threads:
            load.capture()
            load.capture_others()
        if given.resources:
            after_swap.append(settled(baseline))
        if given.memory and swap % 100 == 0:
            memory.append(anonymous_kb())
    load.await_total(given.events)
    load.stop()
    sentry_sdk.flush(60)
    print(
        json.dumps(
            {
                "ids": load.ids,
                "counts": load.counts,
                "took_ms": load.took_ms,
                "build_ms": swaps.build_ms[1:],
                "swap_ms": swaps.swap_ms[1:],
                "done_ms": swaps.done_ms[1:],
                "baseline": baseline,
                "resources": after_swap,
                "left": resources(),
                "memory_kb": memory,
                "tally": resentry.status()["tally"],
            }
        )
    )


if __name__ == "__main__":
    main()
