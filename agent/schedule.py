"""When the next pass comes: within the interval, after a back-off, or now.

APScheduler counts wall-clock time, which may be put forward or back. So every time here
is counted from now, and none from the one before; and whoever has the monotonic clock
asks for a pass at `overdue_at`, which no step of the wall clock moves.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from agent.backoff import retry_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.outcome import Outcome

BACKOFF_CAP_SECONDS = 300.0
"""However long the interval, an outage is noticed to be over within this time."""
GRACE_SECONDS = 1.0
"""How much later than it should a pass may begin before it is asked for."""


class Interval(BaseTrigger):  # type: ignore[misc]
    """From 0.8 to 1.0 of the interval after now, so that a fleet does not poll in step.

    APScheduler's own trigger goes on from the time before: put forward ten years, it
    would first walk through hundreds of millions of intervals.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def seconds(self) -> float:
        """Return how long to wait this time."""
        return self._seconds * random.uniform(0.8, 1)  # noqa: S311

    def get_next_fire_time(self, _before: datetime | None, now: datetime) -> datetime:
        """Return when the job runs next."""
        return now + timedelta(seconds=self.seconds())


class Schedule:
    """Has `run_pass` called in a thread of its own, one pass at a time."""

    def __init__(self, poll_seconds: float, run_pass: Callable[[], None]) -> None:
        self._poll_seconds = poll_seconds
        self.overdue_at = float("inf")
        """When a pass should have begun, in monotonic time; the first is not ours."""
        self._interval = Interval(poll_seconds)
        self._scheduler = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(1)}, daemon=True
        )
        self._job = self._scheduler.add_job(
            run_pass,
            self._interval,
            misfire_grace_time=None,
            coalesce=True,
            max_instances=1,
        )
        self._scheduler.start()

    def passed(self, outcome: Outcome, failures: int, due: float | None) -> None:
        """After a pass: plan the next. `due` is in how many seconds one is needed."""
        if outcome.retry_soon:
            cap = min(self._poll_seconds, BACKOFF_CAP_SECONDS)
            self.after(retry_seconds(failures, cap, outcome.retry_after))
            return
        # From now, whatever the wall clock showed when the job was planned.
        self._plan(self._interval.seconds())
        wait = self._poll_seconds + GRACE_SECONDS
        if due is not None:
            wait = min(wait, max(due, GRACE_SECONDS))
        self.overdue_at = time.monotonic() + wait

    def after(self, seconds: float) -> None:
        """Have the next pass begin in so many seconds, instead of when it was to."""
        self.overdue_at = time.monotonic() + max(seconds, 1) + GRACE_SECONDS
        self._plan(seconds)

    def _plan(self, seconds: float) -> None:
        at = datetime.now(UTC) + timedelta(seconds=seconds)
        self._job.modify(next_run_time=at)

    def stop(self) -> None:
        """Begin no further pass; wait for none."""
        self._scheduler.shutdown(wait=False)
