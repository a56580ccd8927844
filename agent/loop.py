"""The loop: runs posted calls, one after the other, in one thread."""

from __future__ import annotations

import queue
import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import REPORT

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_SECONDS = 86400.0
"""The longest wait. The operating system's own limit is not far above."""

log = structlog.get_logger()


class Loop:
    """A queue of calls. `post` may be called by any thread and by a signal handler."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.is_ended = False
        self.has_called = False
        """Whether the last turn ran a call, and did not end by its time alone."""

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop's thread run `call`, after all calls that were posted before."""
        self._calls.put(call)

    def wake(self) -> None:
        """Have the loop take a turn soon, so that it looks for changes."""
        if self._calls.empty():
            self._calls.put(_nothing)

    def turn(self, until: float) -> None:
        """Run what is posted. If nothing is, return at the monotonic time `until`.

        An exception is logged, so that a bug does not end the loop.
        """
        self.has_called = False
        wait = min(max(until - time.monotonic(), 0.0), LONGEST_SECONDS)
        try:
            call = self._calls.get(timeout=wait)
        except queue.Empty:
            return
        # Many calls are one turn: what the daemon does in each turn takes longer.
        self.has_called = True
        calls = [call, *(self._calls.get_nowait() for _ in range(self._calls.qsize()))]
        for call in calls:
            self.safely(call)

    def end(self) -> None:
        """Note, in the loop's thread, that there shall be no other turn."""
        self.is_ended = True

    def safely(self, call: Callable[[], object]) -> None:
        """Run a call now. An exception is logged."""
        try:
            call()
        except Exception:
            log.exception("unexpected internal error; the agent goes on", hint=REPORT)


def _nothing() -> None:
    """Do nothing: the call only wakes the loop."""
