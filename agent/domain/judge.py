"""Judges candidates by the guard rails, each one once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.domain.validate import Validated, validate
from agent.domain.wishes import is_lasting

if TYPE_CHECKING:
    from agent.domain.candidate import Candidate
    from agent.domain.guard_rails import GuardRails
    from resentry.contract import Snapshot


class Judge:
    """Remembers the newest candidate that was good, and what was made of it."""

    def __init__(self, rails: GuardRails) -> None:
        self._rails = rails
        self._last: tuple[Candidate, Snapshot | None, Validated] | None = None

    def judge(
        self, candidate: Candidate, last_good: Snapshot | None, now: float
    ) -> Validated:
        """Return the candidate as a snapshot, as `validate` does, or raise its error.

        The snapshot is `last_good` itself if both are equal. Nothing is judged again if
        the source gave the mappings that it gave before, and `last_good` is as it was.
        """
        if self._last is not None:
            before, after, made = self._last
            is_same = (
                candidate.values is before.values
                and candidate.provenance is before.provenance
            )
            if is_same and after is last_good:
                return made
        made = validate(candidate, self._rails, last_good, now)
        if made.snapshot == last_good:
            made = made._replace(snapshot=last_good)
        # Time ends boosts and ceilings, and what the rails say of a boost depends on it.
        lasts = is_lasting(made.snapshot)
        self._last = (candidate, last_good, made) if lasts else None
        return made
