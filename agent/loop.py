"""Calls, carried out one after the other in one thread."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_SECONDS = 86400.0
"""No wait is longer: the operating system's own limit is not far above."""

log = structlog.get_logger()


class Loop:
    """`post` may be called from any thread and from a signal handler."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def post(self, call: Callable[[], object]) -> None:
        """Have `call` carried out by the loop's thread, after what was posted before."""
        self._calls.put(call)

    def wake(self) -> None:
        """Have the loop take a turn soon. One in the queue is enough."""
        if self._calls.empty():
            self._calls.put(_nothing)

    def turn(self, until: float) -> None:
        """Carry out one posted call; without any, return at the monotonic time `until`.

        An exception is logged: the loop outlives every mistake of ours.
        """
        wait = min(max(until - time.monotonic(), 0.0), LONGEST_SECONDS)
        try:
            call = self._calls.get(timeout=wait)
        except queue.Empty:
            return
        self.safely(call)

    def safely(self, call: Callable[[], object]) -> None:
        """Carry out a call now; an exception is logged."""
        try:
            call()
        except Exception:
            log.exception("the daemon met an unexpected error, and goes on")


def _nothing() -> None:
    """Carry out nothing: the turn itself is what was asked for."""
