"""What a new DSN costs a service: a graceful restart of uvicorn, beside a swap in it.

The service is the example's API, one worker, without a broker. Each request ends in an
error there, so each answer owes one event.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import requests

from lab.process import Process, eventually, free_port, listens
from lab.swaps import publish, settings_for
from lab.system import COMMANDS, EXAMPLE

if TYPE_CHECKING:
    from pathlib import Path

    from lab.sink import Sink

ROTATIONS = 5
REQUESTS_BETWEEN = 100
_THREADS = 4
_PAUSE_SECONDS = 0.02


class Visitors:
    """Ask for a course from several threads until the context ends."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/courses/1"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(_THREADS)]
        self.answered: list[float] = []
        """When, on the monotonic clock."""
        self.failed = 0
        """Requests without an answer."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_PAUSE_SECONDS):
            try:
                requests.get(self._url, timeout=10)
            except requests.RequestException:
                self.failed += 1
            else:
                self.answered.append(time.monotonic())

    def await_more(self) -> None:
        enough = len(self.answered) + REQUESTS_BETWEEN
        eventually(lambda: len(self.answered) >= enough, 30, "answers")


class Service:
    """The example's API, whose DSN changes in one of the two ways."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        self._dsns = sink.dsn(1), sink.dsn(2)
        self._folder = folder
        self.port = free_port()
        command = (COMMANDS / "uvicorn", "app.main:api", "--port", str(self.port))
        self._process = Process(
            [*command, "--no-access-log", "--log-level", "critical"],
            cwd=EXAMPLE,
            ready=lambda: listens(self.port),
        )
        self._base = {**os.environ, "VERSION": "1", "ENVIRONMENT": "bench"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()

    def start(self, number: int, *, swaps: bool) -> None:
        """Start with one of the DSNs: from a volume, or from the environment."""
        if swaps:
            self.swap(number)
            environ = {"RESENTRY_DIR": str(self._folder)}
        else:
            environ = {"SENTRY_DSN": self._dsns[number % 2]}
        self._process.env = self._base | environ
        self._process.start()

    def swap(self, number: int) -> None:
        settings = settings_for(number % 2, self._dsns[number % 2])
        publish(self._folder, number + 1, settings)

    def restart(self, number: int) -> None:
        self._process.stop()
        self.start(number, swaps=False)


def await_next_event(sink: Sink, project: int) -> None:
    """Return once the project has one more event than now."""
    before = sink.count("event", project)
    eventually(lambda: sink.count("event", project) > before, 30, "the next event")


def measure(sink: Sink, folder: Path, *, swaps: bool) -> dict[str, Any]:
    """Give the service `ROTATIONS` new DSNs under load; return what that cost."""
    sink.reset()
    with Service(sink, folder) as service:
        service.start(0, swaps=swaps)
        gaps = []
        with Visitors(f"http://127.0.0.1:{service.port}") as visitors:
            visitors.await_more()
            for number in range(1, ROTATIONS + 1):
                began = len(visitors.answered) - 1
                if swaps:
                    service.swap(number)
                else:
                    service.restart(number)
                await_next_event(sink, 1 + number % 2)
                visitors.await_more()
                times = sorted(visitors.answered[began:])
                gaps.append(max(b - a for a, b in itertools.pairwise(times)))
    return {
        "rotations": ROTATIONS,
        "requests": len(visitors.answered) + visitors.failed,
        "failed": visitors.failed,
        "lost": len(visitors.answered) - sink.count("event"),
        "longest_gap_ms": [gap * 1000 for gap in gaps],
    }
