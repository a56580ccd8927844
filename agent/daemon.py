"""The daemon's main loop: wake-ups, deadlines, what follows a pass, shutdown.

Signal handlers and threads only put a word into the queue; the main thread acts. It
needs no clock but the monotonic one.
"""

from __future__ import annotations

import json
import os
import queue
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import structlog

from agent import control
from agent.errors import AgentError, SourceDown
from agent.follow import Follower
from agent.observe.changes import Changes, notify_part, probe_part, tell_pass
from agent.observe.status import Status, decode_state, document
from agent.operator import Operator
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from agent.domain.outcome import Outcome
    from agent.observe.metrics import Metrics
    from agent.pipeline import Pipeline
    from agent.publish.volume import Volume
    from agent.schedule import Schedule
    from agent.settings import Settings

Word = Literal["stop", "poll", "began", "passed", "receipts", "probed or told"]

FIRST_PASS_SECONDS = 1.0
"""How long the probes wait for the first pass before they answer without it."""
LOOK_SECONDS = 1.0
"""Between two looks at the receipts while a rollout is not finished."""
LEAVE_SECONDS = 0.6
REVOKE_SECONDS = 0.3
"""At the end, for giving the token back: one that is not given back ends by itself."""

log = structlog.get_logger()


class Daemon:
    """Runs passes until it is told to stop."""

    def __init__(
        self, settings: Settings, pipeline: Pipeline, volume: Volume, version: str
    ) -> None:
        self._settings = settings
        self._pipeline = pipeline
        self._volume = volume
        self._version = version
        self._metrics: Metrics | None = None
        self.status = Status(
            settings.poll_seconds, settings.startup_seconds, settings.pass_seconds
        )
        self.status.has_snapshot = volume.current() is not None
        self.status.resume(decode_state(volume.memory.read(STATE)))
        self._words: queue.SimpleQueue[Word] = queue.SimpleQueue()
        self._passed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._passing = threading.Lock()
        self._begun = 0  # passes, counted
        self._seen = 0  # the last of them that the main thread knows the end of
        self._ended = threading.Condition()
        self._last: tuple[int, Outcome] | None = None
        self._again = False
        self._abort_at: float | None = None  # set while a pass runs
        self._follower = Follower(pipeline)
        self._changes = Changes()
        self._watching = False
        self._schedule: Schedule | None = None

    def document(self) -> dict[str, Any]:
        """Return what is known, as `/status` shows it."""
        pipeline = self._pipeline
        return document(pipeline.current, pipeline.rollout(), self._state())

    def _state(self) -> dict[str, Any]:
        """What only the daemon knows."""
        return {
            **self.status.source(),
            "where": self._pipeline.source_report(),
            "probe": probe_part(self._pipeline.probes()),
            "notify": notify_part(self._pipeline.deliveries()),
        }

    def refresh(self) -> Outcome:
        """Run a pass now, from another thread; return its outcome."""
        before = self._begun
        self._words.put("poll")
        with self._ended:
            self._ended.wait_for(
                lambda: self._last is not None and self._last[0] > before,
                self._settings.pass_seconds + 5,
            )
        if self._last is None or self._last[0] <= before:
            return self._pipeline.failed(SourceDown("the pass has not ended in time"))
        return self._last[1]

    def run(self) -> None:
        """Poll until SIGTERM or SIGINT. SIGHUP polls at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._saying("stop"))
        signal.signal(signal.SIGHUP, self._saying("poll"))
        # The first pass does not wait for what only later ones need.
        wait = random.uniform(0, self._settings.start_jitter_seconds)  # noqa: S311
        first = threading.Timer(wait, self._pass)
        first.daemon = True
        first.start()
        word = self._next_word(time.monotonic() + FIRST_PASS_SECONDS)
        try:
            if word != "stop":
                self._start_services()
                self._obey_safely(word)
                while (word := self._next_word(self._wake_at())) != "stop":
                    self._obey_safely(word)
        finally:
            ended = self._leave()
        if not ended:
            os._exit(0)  # no pass may keep the process

    def _saying(self, word: Word) -> Callable[[int, FrameType | None], None]:
        def handler(_number: int, _frame: FrameType | None) -> None:
            self._words.put(word)

        return handler

    def _next_word(self, until: float) -> Word | None:
        """Wait for a word; `None` when the time has come to look by itself."""
        try:
            left = until - time.monotonic()
            return self._words.get(timeout=min(max(left, 0), 86400))
        except queue.Empty:
            return None

    def _start_services(self) -> None:
        from agent.confirm.watch import watch_receipts  # noqa: PLC0415
        from agent.observe.http import Page, serve  # noqa: PLC0415
        from agent.observe.metrics import Metrics  # noqa: PLC0415
        from agent.schedule import Schedule  # noqa: PLC0415

        settings = self._settings
        self._metrics = self._follower.metrics = Metrics(self._version)
        page = Page(self.status, self._metrics, self.document)
        serve(page, settings.http, settings.probes)
        self._pipeline.listen(lambda: self._words.put("probed or told"))
        self._pipeline.watch(lambda: self._words.put("poll"))
        operator = Operator(settings, self._pipeline, self.refresh)
        control.serve(settings.control_path, operator.handle)
        self._schedule = Schedule(settings.poll_seconds, self._pass)
        self._watching = watch_receipts(
            settings.receipts_dir,
            # Every word makes the main thread look: one in the queue is enough.
            lambda: self._words.put("receipts") if self._words.empty() else None,
        )
        if not self._watching:
            log.warning("no inotify instance left; receipts are compared each second")

    @property
    def _overdue_at(self) -> float:
        return self._schedule.overdue_at if self._schedule else float("inf")

    def _wake_at(self) -> float:
        """When the main thread must look even if nobody says a word."""
        # While a pass runs none is overdue: only its deadline counts, until its end.
        deadline = self._abort_at or float("inf")
        times = [deadline if self._is_passing else self._overdue_at]
        if self._follower.is_unfinished or not self._watching:
            times.append(time.monotonic() + LOOK_SECONDS)
        return min(times)

    def _obey(self, word: Word | None) -> None:
        now, abort_at = time.monotonic(), self._abort_at
        if word == "began":  # there is a deadline to wake up for
            return
        if word == "passed":
            self._after_pass()
        elif word == "probed or told" and self.status.is_probing:
            self._poll()  # it may be published now, or be refused
        elif word == "poll":
            self._pipeline.hurry()
            self._poll()
        elif not self._is_passing and now >= self._overdue_at:
            self._poll()
        elif abort_at is not None and now >= abort_at:
            self._pipeline.abort()
            if self._abort_at == abort_at:  # else it has ended meanwhile
                self._abort_at = now + LOOK_SECONDS
        self._follower.look()
        self._look_at_reports()

    def _obey_safely(self, word: Word | None) -> None:
        try:
            self._obey(word)
        except Exception:  # the loop outlives every mistake of ours
            log.exception("the daemon met an unexpected error, and goes on")

    # Passes, in the scheduler's thread; the first in one of its own

    def _pass(self) -> None:
        """Run one pass, unless one runs."""
        if self._passing.acquire(blocking=False):
            try:
                self._timed_pass()
            finally:
                self._passing.release()

    def _timed_pass(self) -> None:
        began = time.monotonic()
        self._begun += 1
        self._abort_at = began + self._settings.pass_seconds
        if self._schedule is not None:
            self._words.put("began")
        try:
            outcome = self._pipeline.run()
        except Exception:  # the loop outlives every mistake of ours
            log.exception("a pass failed in an unexpected way")
            error = SourceDown("an unexpected error, see the log")
            outcome = self._pipeline.failed(error)
        finally:
            self._abort_at = None
        seconds = time.monotonic() - began
        news = self.status.passed(outcome)
        if outcome.kind == "published":
            self._follower.published()
        tell_pass(outcome, seconds, self.status.outage, news=news)
        self._passed.put((self._begun, outcome, seconds))
        self._words.put("passed")
        with self._ended:
            self._last = (self._begun, outcome)
            self._ended.notify_all()

    # What follows, in the main thread

    def _after_pass(self) -> None:
        (self._seen, outcome, seconds), status = self._passed.get(), self.status
        if self._metrics is not None:
            self._metrics.passed(outcome, seconds, status)
            self._metrics.source(self._pipeline.source_report())
        self._pipeline.tell_receivers()  # also of what an earlier agent published
        self._save()
        if self._schedule is not None:
            due = self._pipeline.due_seconds()
            self._schedule.passed(outcome, status.failures, due)
        if self._again:
            self._again = False
            self._poll()  # the scheduler may still count the last one: then once overdue

    @property
    def _is_passing(self) -> bool:
        """Whether a pass runs, or has said so little ago that it ended."""
        return self._begun > self._seen

    def _poll(self) -> None:
        if self._is_passing:
            self._again = True  # the scheduler would not start a second one
        elif self._schedule is not None:
            self._schedule.after(0)

    def _look_at_reports(self) -> None:
        probes, deliveries = self._pipeline.probes(), self._pipeline.deliveries()
        if self._changes.look(probes, deliveries, self._metrics):
            self._save()

    def _save(self) -> None:
        """Keep what only the daemon knows, for `status`."""
        try:
            state = json.dumps(self._state()).encode()
            self._volume.keep(STATE, state, flush=False)
        except AgentError as error:
            log.warning(error.what, hint=error.hint)

    def _leave(self) -> bool:
        """Stop within a second; say whether no pass is stuck where nothing can cut it."""
        if self._schedule is not None:
            self._schedule.stop()
        self._pipeline.abort()
        ended = self._passing.acquire(timeout=LEAVE_SECONDS)
        if ended:
            closing = threading.Thread(target=self._pipeline.close, daemon=True)
            closing.start()
            closing.join(REVOKE_SECONDS)
        self._save()
        self._volume.close()
        log.info("stopped; what is published stays")
        return ended
