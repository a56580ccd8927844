"""Whether a candidate waits for its DSN check: `warn` never, `enforce` until a verdict."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from agent.backoff import NEVER
from agent.domain.answers import accepted_at
from agent.domain.dsn_check import PASSING, dsns_of
from agent.dsn_check.idle import Idle
from agent.errors import CandidateRefused, CandidateWaits
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.dsn_check import DsnReport
    from agent.domain.rollout import Rollout
    from agent.dsn_check.checker import Checker
    from resentry.contract import Snapshot

Mode = Literal["off", "warn", "enforce"]


class Gate:
    """Stands between a good candidate and the volume."""

    def __init__(self, checker: Checker, mode: Mode) -> None:
        self._checker = checker
        self._mode = mode
        self.is_strict = mode == "enforce"
        """Whether a candidate waits for a verdict."""
        self._waiting: frozenset[str] = frozenset()
        self._idle = Idle(checker.idle_seconds)
        self._published: Snapshot | None = None
        """What was published when `check_idle` last looked."""

    @property
    def again_at(self) -> float:
        """When `check_idle` has something to do next, as a monotonic time."""
        return self._idle.next_at

    def check_idle(self, current: Snapshot | None, rollout: Rollout) -> None:
        """Have the published DSNs checked again by which no process has sent for long."""
        if self._mode == "off" or self._checker.idle_seconds == NEVER:
            return
        now, wall = time.monotonic(), time.time()
        if current is self._published and now < self.again_at:
            return
        self._published = current
        accepted = {
            mark: at + now - wall for mark, at in accepted_at(rollout, wall).items()
        }
        signs = {
            dsn: _later(self._checker.asked_at(dsn), accepted.get(fingerprint(dsn)))
            for dsn in dsns_of(current)
        }
        if due := self._idle.due(signs, now):
            self._checker.again(due)

    def admit(
        self,
        candidate: Snapshot,
        fingerprint: str,
        last_good: Snapshot | None,
        current: Snapshot | None,
    ) -> None:
        """If the gate is strict, return only if each new DSN of the candidate is accepted.

        Raises `CandidateWaits` until there is a verdict, and `CandidateRefused` after a
        bad one.
        """
        if not self.is_strict:
            return
        in_use = dsns_of(current)
        self._waiting = dsns_of(candidate) - in_use - dsns_of(last_good)
        reports = self._checker.ask(self._waiting, in_use)
        lacking = [report for report in reports if report.verdict not in PASSING]
        refused = [report for report in lacking if report.settled]
        if refused:
            hints = dict.fromkeys(report.hint for report in refused)
            sentences = [report.sentence for report in refused]
            raise CandidateRefused(sentences, fingerprint, "; ".join(hints))
        if lacking:
            waiting = "; ".join(report.sentence for report in lacking)
            raise CandidateWaits(waiting, fingerprint)

    def glance(
        self, wanted: Snapshot, current: Snapshot | None, seconds: float = 0.0
    ) -> tuple[str, ...]:
        """Have each new DSN of a snapshot checked, and return notes on the bad ones.

        The call waits at most so many seconds for the first answers.
        """
        if self._mode == "off":
            return ()
        in_use = dsns_of(current)
        new = dsns_of(wanted) - in_use
        if not new:
            return ()
        reports = self._checker.ask(new, in_use, seconds)
        good = ("accepted", "accepted_once")
        return tuple(
            report.sentence for report in reports if report.verdict not in good
        )

    def retain(self, current: Snapshot | None) -> None:
        """Check the DSNs that are published or wait from now on, and no others."""
        self._checker.retain(dsns_of(current) | self._waiting)

    def on_report_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when the report has changed."""
        self._checker.changed = changed

    def report(self) -> tuple[DsnReport, ...]:
        """Return what is known about each DSN that was checked."""
        return self._checker.report()


def _later(*times: float | None) -> float | None:
    return max((each for each in times if each is not None), default=None)
