"""The one pass that runs: its thread, its deadline, and who waits for its end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import structlog

from agent.errors import AgentError
from agent.pipeline import Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from agent.domain.outcome import Outcome
    from agent.pipeline import Pipeline

UNEXPECTED = "an unexpected error, see the log"

log = structlog.get_logger()


class Passing:
    """Starts passes, one at a time. Every method belongs to the loop's thread.

    Args:
        pipeline: what a pass reads with.
        seconds: how long a pass may take.
        ended: called from the pass's thread with what it found, and when it began.

    """

    def __init__(
        self,
        pipeline: Pipeline,
        seconds: float,
        ended: Callable[[Reading, float], None],
    ) -> None:
        self._pipeline = pipeline
        self._seconds = seconds
        self._ended = ended
        self._thread: threading.Thread | None = None
        self._is_wanted = False
        self._forgets_backoff = False
        self._waiting: list[Future[Outcome]] = []
        self._served: list[Future[Outcome]] = []

    @property
    def is_running(self) -> bool:
        """Whether a pass was started whose end the loop has not handled yet."""
        return self._thread is not None

    def start(self) -> None:
        """Start a pass; while one runs, have another one follow it."""
        if self._thread is not None:
            self._is_wanted = True
            return
        self._served, self._waiting = self._waiting, []
        forget_backoff, self._forgets_backoff = self._forgets_backoff, False
        until = time.monotonic() + self._seconds
        self._thread = threading.Thread(
            target=self._run, args=(until, forget_backoff), name="pass", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError as problem:  # the system has no thread left
            error = AgentError(f"no pass can be started: {problem}")
            error.retry_soon = True
            self._ended(Reading(error=error), time.monotonic())

    def start_at_once(self, waiter: Future[Outcome] | None = None) -> None:
        """Start a pass that asks the source whatever failed before.

        `waiter` gets the outcome of a pass that begins after this call.
        """
        self._forgets_backoff = True
        if waiter is not None:
            self._waiting.append(waiter)
        self.start()

    def finish(self, outcome: Outcome) -> None:
        """The pass's end was handled: answer who waited, start the next if asked for."""
        self._thread = None
        served, self._served = self._served, []
        for waiter in served:
            waiter.set_result(outcome)
        if self._is_wanted:
            self._is_wanted = False
            self.start()

    def join(self, seconds: float) -> bool:
        """Wait for the end of a running pass; say whether none runs any more."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self, until: float, forget_backoff: bool) -> None:  # noqa: FBT001 - a thread's args
        began = time.monotonic()
        try:
            reading = self._pipeline.read(until, forget_backoff=forget_backoff)
        except Exception:  # the daemon outlives every mistake of ours
            log.exception("a pass failed in an unexpected way")
            reading = Reading(error=AgentError(UNEXPECTED))
        self._ended(reading, began)
