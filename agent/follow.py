"""What follows a publication: who has taken it up, who must be reminded, who says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from agent.notify.signal import Reminders

if TYPE_CHECKING:
    from agent.domain.rollout import Rollout
    from agent.observe.metrics import Metrics
    from agent.pipeline import Pipeline

SETTLED = frozenset({"drained", "refused"})
"""States of a rollout that only a receipt can change."""
DONE = ("confirmed", "drained")
NAMED = 10
"""So many targets are named in one line of the log."""

log = structlog.get_logger()


class Follower:
    """Looks at the rollout of the current snapshot, and tells what is new of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.metrics: Metrics | None = None
        self._pipeline = pipeline
        self._rollout: Rollout | None = None
        self._published: float | None = None
        self._reminders = Reminders()

    @property
    def is_unfinished(self) -> bool:
        """Whether time alone may change the rollout: a deadline, a death."""
        rollout = self._rollout
        if rollout is None or not (rollout.targets or rollout.unknown):
            return False
        return bool(rollout.unknown) or not {rollout.state, *rollout.counts} <= SETTLED

    def published(self) -> None:
        """Count from now on until every target has confirmed."""
        self._published = self._pipeline.began

    def look(self) -> None:
        """Read the receipts; log and count what has changed; remind who still waits."""
        rollout, before = self._pipeline.rollout(), self._rollout
        self._rollout = rollout
        if before is None or (before.targets, before.unknown) != (
            rollout.targets,
            rollout.unknown,
        ):
            self._tell(rollout, before)
        self._remind(rollout)

    def _tell(self, rollout: Rollout, before: Rollout | None) -> None:
        if self.metrics is not None:
            self.metrics.rolled_out(rollout)
        if before is None or _said(before) != _said(rollout):
            is_bad = rollout.state in ("refused", "overdue") or rollout.unknown
            details = {"targets": rollout.notes[:NAMED]} if rollout.notes else {}
            level = "warning" if is_bad else "info"
            getattr(log, level)(rollout.sentence, rollout=rollout.state, **details)
        if self._published is not None and rollout.state in DONE:
            if self.metrics is not None:
                self.metrics.confirmed(time.monotonic() - self._published)
            self._published = None

    def _remind(self, rollout: Rollout) -> None:
        """Signal targets that still wait once more, with growing pauses."""
        current = self._pipeline.current
        late = [t for t, state in rollout.targets if state in ("waiting", "overdue")]
        if current is None or not late:
            return
        if self._reminders.is_due((current.revision, current.sequence)):
            self._pipeline.remind(late)


def _said(rollout: Rollout) -> tuple[object, ...]:
    """What makes a line in the log when it changes."""
    return rollout.state, rollout.sentence, rollout.notes
