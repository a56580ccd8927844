"""A program under load whose Sentry configuration changes: the heart of swap tests.

Run as `python -m lab.load OPTIONS`, with RESENTRY_DIR in the environment, so that it is a
process of its own; the caller holds the receiver and compares. It prints one JSON object:
what was captured, and what it cost.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import sentry_sdk

import resentry
from resentry.contract import Snapshot, encode_snapshot, revision_of

BUSY = 500
"""So many envelopes may wait; with more, the load holds back."""


def publish(directory: Path, sequence: int, settings: dict[str, Any]) -> Snapshot:
    """Replace `settings.json` as an agent would, for programs that need no agent."""
    snapshot = Snapshot(settings=settings, sequence=sequence, published_at="now")
    snapshot = dataclasses.replace(snapshot, revision=revision_of(snapshot))
    temporary = directory / ".next"
    temporary.write_bytes(encode_snapshot(snapshot))
    temporary.replace(directory / "settings.json")
    return snapshot


def settings_for(number: int, dsn: str) -> dict[str, Any]:
    """A snapshot whose events say, by environment and release, where they belong."""
    return {
        "SENTRY_DSN": dsn,
        "SENTRY_ENVIRONMENT": f"env-{number}",
        "SENTRY_RELEASE": f"release-{number}",
        "SENTRY_TRACES_SAMPLE_RATE": 1.0,
    }


class Load:
    """Captures from several threads until told to stop, and knows what it captured."""

    def __init__(self, threads: int, pause: float) -> None:
        self.ids: list[str | None] = []
        self.transactions = 0
        self.logs = 0
        self.sessions = 0
        self.pauses: list[float] = []
        self._pause = pause
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(n,)) for n in range(threads)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        ids: list[str | None] = []
        took: list[float] = []
        turn = transactions = logs = sessions = 0
        while not self._stop.is_set():
            transport: Any = sentry_sdk.get_client().transport
            if transport is not None and transport.pending > BUSY:
                time.sleep(self._pause)  # no more than can be sent
                continue
            began = time.perf_counter()
            event = sentry_sdk.capture_message(f"event {number}-{turn}")
            took.append(time.perf_counter() - began)
            ids.append(event)
            if turn % 10 == 0:
                with sentry_sdk.start_transaction(name=f"work {number}", op="load"):
                    time.sleep(self._pause)
                transactions += 1
                sentry_sdk.logger.info(f"log {number}-{turn}")
                logs += 1
                with sentry_sdk.isolation_scope() as scope:
                    scope.start_session()
                    scope.end_session()
                sessions += 1
            else:
                time.sleep(self._pause)
            turn += 1
            self.turns = turn
        with self._lock:
            self.ids += ids
            self.pauses += took
            self.transactions += transactions
            self.logs += logs
            self.sessions += sessions


def resources() -> dict[str, int]:
    """What a leak would show in: threads, descriptors, clients, memory."""
    gc.collect()
    clients = sum(isinstance(found, sentry_sdk.Client) for found in gc.get_objects())
    status = Path("/proc/self/status").read_text()
    rss = next(line for line in status.splitlines() if line.startswith("RssAnon"))
    return {
        "threads": len(list(Path("/proc/self/task").iterdir())),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "clients": clients,
        "anon_kb": int(rss.split()[1]),
    }


def await_swapped(revision: str) -> None:
    """Return once the process runs the revision, and the old client is drained."""
    while True:
        status = resentry.status()
        if status["revision"] == revision and status["phase"] == "drained":
            return
        time.sleep(0.002)


def slow(event: Any, _hint: Any) -> Any:
    """A `before_send` that takes its time, where a naive swap loses most."""
    time.sleep(0.03)
    return event


def main() -> None:
    """Capture while the configuration changes `--swaps` times among the DSNs."""
    parser = argparse.ArgumentParser(prog="python -m lab.load")
    parser.add_argument("dsn", nargs="+")
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--events", type=int, default=1000, help="per swap, at least")
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--pause", type=float, default=0.002)
    parser.add_argument("--slow", action="store_true", help="a 30 ms before_send")
    given = parser.parse_args()
    directory = Path(os.environ["RESENTRY_DIR"])

    options: dict[str, Any] = {
        "enable_logs": True,
        "transport_queue_size": 10_000,
        "_experiments": {"transport_compression_level": 0},
    }
    if given.slow:
        options["before_send"] = slow
    first = publish(directory, 1, settings_for(0, given.dsn[0]))
    resentry.init(role="api", **options)
    await_swapped(first.revision)

    load = Load(given.threads, given.pause)
    load.start()
    time.sleep(0.5)
    swap_seconds = []
    resources_after = []
    for swap in range(1, given.swaps + 1):
        at = swap % len(given.dsn)
        began = time.perf_counter()
        snapshot = publish(directory, swap + 1, settings_for(at, given.dsn[at]))
        await_swapped(snapshot.revision)
        swap_seconds.append(time.perf_counter() - began)
        resources_after.append(resources())
        time.sleep(max(0.0, given.events / 1000 - swap_seconds[-1]))
    load.stop()
    sentry_sdk.flush(60)
    print(
        json.dumps(
            {
                "ids": load.ids,
                "transactions": load.transactions,
                "logs": load.logs,
                "sessions": load.sessions,
                "pauses": sorted(load.pauses),
                "swap_seconds": swap_seconds,
                "resources": resources_after,
                "tally": resentry.status().get("tally"),
            }
        )
    )


if __name__ == "__main__":
    main()
