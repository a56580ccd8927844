"""Many agents' sources in a few processes: the real code, each its own session and login.

What else an agent does (publish, signal, receipts) never reaches the server.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from agent.errors import AgentError
from agent.schedule import Interval
from agent.settings import load
from agent.source.vault import VaultSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

SPAWN = multiprocessing.get_context("spawn")
PROCESSES = 2 * (os.cpu_count() or 1)
SOON_SECONDS = 0.5
"""Until all processes have heard when to begin."""


class Read(NamedTuple):
    """One pass of one source."""

    ended: float
    """On the monotonic clock, which all processes share."""
    seconds: float
    error: str


class Poller:
    """One agent's source."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._source: VaultSource | None = None
        self._interval = Interval(load({}, environ).settings.poll_seconds)

    def prepare(self) -> None:
        """Have a source without connection, token or memory; the one before logs out."""
        self.close()
        self._source = VaultSource(load({}, self._environ).settings, "bench")

    def close(self) -> None:
        """Log out."""
        if self._source is not None:
            self._source.close()

    def start(self, at: float, jitter: float) -> list[Read]:
        """Read for the first time, up to `jitter` seconds after the moment `at`."""
        time.sleep(max(0.0, at + random.uniform(0, jitter) - time.monotonic()))
        return [self._read()]

    def poll(self, until: float) -> list[Read]:
        """Read at the agent's own intervals, until that moment."""
        found: list[Read] = []
        while True:
            now = datetime.now(UTC)
            wait = self._interval.get_next_fire_time(None, now) - now
            if time.monotonic() + wait.total_seconds() > until:
                return found
            time.sleep(wait.total_seconds())
            found.append(self._read())

    def _read(self) -> Read:
        assert self._source
        began, error = time.monotonic(), ""
        try:
            self._source.read()
        except AgentError as problem:
            error = problem.what
        ended = time.monotonic()
        return Read(ended, ended - began, error)


class Pollers:
    """So many of them, shared out among processes."""

    def __init__(self, number: int, environ: Mapping[str, str]) -> None:
        shares = [len(range(first, number, PROCESSES)) for first in range(PROCESSES)]
        self._pipes = []
        self._processes = []
        for share in filter(None, shares):
            ours, theirs = SPAWN.Pipe()
            self._pipes.append(ours)
            args = (theirs, share, dict(environ))
            self._processes.append(SPAWN.Process(target=_serve, args=args, daemon=True))

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        self.do("prepare")
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()

    def do(self, what: str, *args: float) -> list[Read]:
        """Have each do that, all at the same time; return what they have read."""
        for pipe in self._pipes:
            pipe.send((what, args))
        return [read for pipe in self._pipes for read in pipe.recv()]


def _serve(orders: Connection, number: int, environ: Mapping[str, str]) -> None:
    """What one process does: every order by all of its pollers, each in a thread."""
    pollers = [Poller(environ) for _ in range(number)]
    while True:
        try:
            what, args = orders.recv()
        except EOFError:
            return
        found: list[Read] = []
        threads = [
            threading.Thread(target=_collect, args=(found, getattr(one, what), args))
            for one in pollers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        orders.send(found)


def _collect(
    found: list[Read], act: Callable[..., list[Read] | None], args: tuple[float, ...]
) -> None:
    found.extend(act(*args) or [])
