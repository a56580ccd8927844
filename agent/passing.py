"""The running pass: its thread, its deadline, and the requests that wait for its end."""

from __future__ import annotations

import queue
import threading
import time
from typing import TYPE_CHECKING

import structlog

from agent.backoff import NEVER
from agent.errors import REPORT, AgentError, unexpected
from agent.pipeline import Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from agent.domain.outcome import Outcome
    from agent.pipeline import Pipeline
    from agent.source import Source

LEAVE_SECONDS, REVOKE_SECONDS = 0.6, 0.3
"""At the end: the time for a running pass to end, and for the source to close."""

log = structlog.get_logger()


class Passing:
    """Starts passes, one at a time, in one thread. Only the loop's thread calls the methods.

    Args:
        pipeline: the pipeline that a pass reads with.
        seconds: the time limit of a pass.
        ended: called in the pass's thread, with the reading and the begin of the pass.

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
        self._asked: queue.SimpleQueue[tuple[float, bool, bool] | None] = (
            queue.SimpleQueue()
        )
        self.is_running = False
        """True from the start of a pass until the loop has handled its end."""
        self.overdue_at = NEVER
        """When a pass has to begin at the latest, as a monotonic time."""
        self._is_wanted = False
        self._forgets_backoff = False
        self._accepts_older = False
        self._waiting: list[Future[Outcome]] = []
        self._served: list[Future[Outcome]] = []

    def start_if_overdue(self) -> None:
        """Start a pass if none runs, and one has to begin."""
        if not self.is_running and time.monotonic() >= self.overdue_at:
            self.start()

    def start(self) -> None:
        """Start a pass. If a pass is running, another pass follows it."""
        if self.is_running:
            self._is_wanted = True
            return
        self.is_running, self.overdue_at = True, NEVER  # its end plans the next
        self._served, self._waiting = self._waiting, []
        forget_backoff, self._forgets_backoff = self._forgets_backoff, False
        accept_older, self._accepts_older = self._accepts_older, False
        until = time.monotonic() + self._seconds
        try:
            self._have_thread()
        except RuntimeError as problem:  # the system has no thread left
            error = AgentError(
                f"cannot start a thread for a pass: {problem}",
                "raise the limit of processes or PIDs of the container",
            )
            error.retry_soon = True
            self._ended(Reading(error=error), time.monotonic())
        else:
            self._asked.put((until, forget_backoff, accept_older))

    def _have_thread(self) -> None:
        """Start the thread if it does not run."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._work, name="pass", daemon=True)
            thread.start()
            self._thread = thread

    def start_at_once(
        self, waiter: Future[Outcome] | None = None, *, accept_older: bool = False
    ) -> None:
        """Start a pass that ignores the source's back-off.

        `waiter` gets the outcome of the first pass that begins after this call. With
        `accept_older`, that pass takes what is older than before, too.
        """
        self._forgets_backoff = True
        self._accepts_older |= accept_older
        if waiter is not None:
            self._waiting.append(waiter)
        self.start()

    def finish(self, outcome: Outcome) -> None:
        """Note the end of the pass: answer the waiters, and start the next pass if wanted."""
        self.is_running = False
        served, self._served = self._served, []
        for waiter in served:
            waiter.set_result(outcome)
        if self._is_wanted:
            self._is_wanted = False
            self.start()

    def leave(self, source: Source) -> bool:
        """Stop the running pass, and close the source. Returns false if the pass still runs."""
        source.abort()
        if self._thread is not None:
            self._asked.put(None)
            self._thread.join(LEAVE_SECONDS)
            if self._thread.is_alive():
                return False
        closing = threading.Thread(target=source.close, daemon=True)
        closing.start()
        closing.join(REVOKE_SECONDS)
        return True

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            until, forget_backoff, accept_older = asked
            self._run(until, forget_backoff=forget_backoff, accept_older=accept_older)

    def _run(self, until: float, *, forget_backoff: bool, accept_older: bool) -> None:
        began = time.monotonic()
        try:
            reading = self._pipeline.read(
                until, forget_backoff=forget_backoff, accept_older=accept_older
            )
        except Exception:  # a bug must not end the daemon
            log.exception(
                "a pass failed with an unexpected internal error", hint=REPORT
            )
            reading = Reading(error=unexpected())
        self._ended(reading, began)
