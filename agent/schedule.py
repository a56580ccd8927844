"""When the next pass comes: within the interval, or after a back-off.

APScheduler uses the wall clock, which can jump. So each run is planned from "now", never
from the last run. And the daemon itself starts a pass when the monotonic deadline
`overdue_at` is over. APScheduler has no thread here: the loop has one, and a clock.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.triggers.base import BaseTrigger

from agent.backoff import NEVER, retry_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from apscheduler.job import Job

    from agent.domain.outcome import Outcome

BACKOFF_CAP_SECONDS = 300.0
"""The longest back-off, so that the end of an outage is noticed within this time."""
GRACE_SECONDS = 1.0
"""How late a pass may begin before the daemon starts it itself."""


SHORTEST = 0.75
"""The shortest wait that counts as planned, as a share of the interval."""


class Interval(BaseTrigger):  # type: ignore[misc]
    """Fires after 0.8 to 1.0 of the interval, so that a fleet does not poll in step.

    APScheduler's own trigger counts from the last run. If the clock jumps ten years, it
    walks through hundreds of millions of intervals.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def seconds(self) -> float:
        """Return a random wait of 0.8 to 1.0 of the interval."""
        return self._seconds * (0.8 + 0.2 * random.random())  # noqa: S311

    def get_next_fire_time(self, _before: datetime | None, now: datetime) -> datetime:
        """Return the time of the next run."""
        return now + timedelta(seconds=self.seconds())


class _Scheduler(BaseScheduler):  # type: ignore[misc]
    """Runs what is due when `look` is called, in the caller's thread."""

    again_at = NEVER
    """When `look` has something to do, as a monotonic time."""

    def wakeup(self) -> None:
        """Note that the plan has changed: APScheduler calls this."""
        self.again_at = 0.0

    def look(self) -> None:
        """Run what is due."""
        if time.monotonic() >= self.again_at:
            self.again_at = NEVER  # if a bug ends this, the next plan goes on
            self.again_at = self._process_jobs() + time.monotonic()

    def shutdown(self, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - APScheduler's
        """Run nothing any more."""
        super().shutdown(wait)
        self.again_at = NEVER


class _Caller(BaseExecutor):  # type: ignore[misc]
    """Calls what is due at once. APScheduler's own executors do more for each call."""

    def _do_submit_job(self, job: Job, _run_times: list[datetime]) -> None:
        job.func()  # APScheduler logs an error
        self._run_job_success(job.id, ())


class Schedule:
    """Calls `run_pass` when a pass is due. Only one thread, the loop's, calls the methods.

    `run_pass` must return at once.
    """

    def __init__(self, poll_seconds: float, run_pass: Callable[[], None]) -> None:
        self._poll_seconds = poll_seconds
        self.overdue_at = NEVER
        """Monotonic deadline of the next pass.

        It is infinite until the end of the first pass, which the daemon starts itself.
        """
        self._interval = Interval(poll_seconds)
        self._scheduler = _Scheduler(timezone=UTC, executors={"default": _Caller()})
        self._job = self._scheduler.add_job(
            run_pass,
            self._interval,
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )
        self._scheduler.start()

    @property
    def again_at(self) -> float:
        """When `look` has something to do, as a monotonic time."""
        return self._scheduler.again_at

    def look(self) -> None:
        """Call `run_pass` if a pass is due."""
        self._scheduler.look()

    def passed(self, outcome: Outcome, failures: int, due: float | None) -> float:
        """Plan the next pass. `due` is in how many seconds the source needs one.

        Returns the planned time, in seconds since the epoch.
        """
        if outcome.retry_soon:
            cap = min(self._poll_seconds, BACKOFF_CAP_SECONDS)
            pause = retry_seconds(failures, cap, outcome.retry_after)
            self.after(pause)
            return time.time() + pause
        seconds = self._planned_seconds()
        wait = self._poll_seconds + GRACE_SECONDS
        if due is not None:
            wait = min(wait, max(due, GRACE_SECONDS))
        self.overdue_at = time.monotonic() + wait
        return time.time() + min(seconds, wait)

    def _planned_seconds(self) -> float:
        """Return in how many seconds the next pass is planned, counted from now.

        The plan that APScheduler made when it started the pass counts, so that no other is
        made. It does not count if the wall clock has jumped since then, or if the pass took
        long, or was not started by the plan.
        """
        planned = self._job.next_run_time
        seconds = planned.timestamp() - time.time() if planned else 0.0
        if not SHORTEST * self._poll_seconds <= seconds <= self._poll_seconds:
            seconds = self._interval.seconds()
            self._plan(seconds)
        return seconds

    def after(self, seconds: float) -> None:
        """Plan the next pass in so many seconds, instead of the time that was planned."""
        self.overdue_at = time.monotonic() + max(seconds, 1) + GRACE_SECONDS
        self._plan(seconds)

    def _plan(self, seconds: float) -> None:
        run_time = datetime.now(UTC) + timedelta(seconds=seconds)
        self._job.modify(next_run_time=run_time)

    def stop(self) -> None:
        """Start no further pass. A running pass is not waited for."""
        self._scheduler.shutdown()
