"""Whether a candidate waits for its DSN check: `warn` never, `enforce` until a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from agent.domain.dsn_check import PASSING, dsns_of
from agent.errors import CandidateRefused, CandidateWaits

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.dsn_check import DsnReport
    from agent.dsn_check.checker import Checker
    from resentry.contract import Snapshot

Mode = Literal["off", "warn", "enforce"]


class Gate:
    """Stands between a good candidate and the volume."""

    def __init__(self, checker: Checker, mode: Mode) -> None:
        self._checker = checker
        self._mode = mode
        self._waiting: frozenset[str] = frozenset()

    def admit(
        self,
        candidate: Snapshot,
        fingerprint: str,
        last_good: Snapshot | None,
        current: Snapshot | None,
    ) -> None:
        """With `enforce`, return only if every new DSN of the candidate is accepted.

        Else raise `CandidateWaits`, and in the end `CandidateRefused`.
        """
        if self._mode != "enforce":
            return
        in_use = dsns_of(current)
        self._waiting = dsns_of(candidate) - in_use - dsns_of(last_good)
        found = self._checker.ask(self._waiting, in_use)
        lacking = [one for one in found if one.verdict not in PASSING]
        refused = [f"SENTRY_DSN: {one.sentence}" for one in lacking if one.settled]
        if refused:
            raise CandidateRefused(refused, fingerprint)
        if lacking:
            told = "; ".join(one.sentence for one in lacking)
            raise CandidateWaits(told, fingerprint)

    def glance(
        self, wanted: Snapshot, current: Snapshot | None, seconds: float = 0.0
    ) -> tuple[str, ...]:
        """Have each new DSN of a snapshot checked, and return what to note of them.

        It waits at most so many seconds for the first answer.
        """
        if self._mode == "off":
            return ()
        in_use = dsns_of(current)
        found = self._checker.ask(dsns_of(wanted) - in_use, in_use, seconds)
        good = ("accepted", "accepted_once")
        return tuple(one.sentence for one in found if one.verdict not in good)

    def retain(self, current: Snapshot | None) -> None:
        """Go on asking for what is published or waits, and for nothing else."""
        self._checker.retain(dsns_of(current) | self._waiting)

    def on_report_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when the report has changed."""
        self._checker.changed = changed

    def report(self) -> tuple[DsnReport, ...]:
        """Return what is known of each DSN that was checked."""
        return tuple(self._checker.report())
