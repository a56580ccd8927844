"""What the setting makes of the probe: `warn` looks once, `enforce` waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.domain.probe import PASSING, dsns_of
from agent.errors import CandidateRefused, CandidateWaits

if TYPE_CHECKING:
    from agent.domain.probe import Found
    from agent.probe.prober import Prober
    from resentry.contract import Snapshot

GLANCE_SECONDS = 2.0
"""So long a pass waits for the answer to a new DSN's first probe."""


class Gate:
    """Stands between a good candidate and the volume."""

    def __init__(self, prober: Prober, *, enforce: bool) -> None:
        self.prober = prober
        self._enforce = enforce
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
        if not self._enforce:
            return
        in_use = dsns_of(current)
        self._waiting = dsns_of(candidate) - in_use - dsns_of(last_good)
        found = self.prober.ask(self._waiting, in_use)
        lacking = [one for one in found if one.verdict not in PASSING]
        refused = [f"SENTRY_DSN: {one.sentence}" for one in lacking if one.settled]
        if refused:
            raise CandidateRefused(refused, fingerprint)
        if lacking:
            told = "; ".join(one.sentence for one in lacking)
            raise CandidateWaits(told, fingerprint)

    def glance(self, wanted: Snapshot, current: Snapshot | None) -> tuple[str, ...]:
        """Probe what is new in a snapshot once, and return what to note of it."""
        in_use = dsns_of(current)
        found = self.prober.ask(dsns_of(wanted) - in_use, in_use, GLANCE_SECONDS)
        good = ("accepted", "accepted_once")
        return tuple(one.sentence for one in found if one.verdict not in good)

    def retain(self, current: Snapshot | None) -> None:
        """Go on asking for what is published or waits, and for nothing else."""
        self.prober.retain(dsns_of(current) | self._waiting)

    def report(self) -> list[Found]:
        """Return what is known of each DSN that was probed."""
        return self.prober.report()
