"""Which ceiling bounds a trace or an error now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from resentry import clock, formats
from resentry.patterns import Patterns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resentry.contract import Ceiling


class End(NamedTuple):
    """When a boost or a ceiling ends: a clock that is set back does not prolong it."""

    until: float
    latest: float
    """On the monotonic clock."""

    @classmethod
    def of(cls, until: str) -> End:
        """Read it as a snapshot has it, at a moment when the clock is right."""
        moment = formats.moment(until)
        return cls(moment, clock.monotonic() + moment - time.time())

    def is_over(self) -> bool:
        """Whether either clock has reached it."""
        return time.time() >= self.until or clock.monotonic() >= self.latest


class Ceilings:
    """The ceilings of one snapshot, for one role and for `traces` or `errors`."""

    def __init__(self, ceilings: Sequence[Ceiling], role: str, field: str) -> None:
        self.matched = 0
        """A bit for each ceiling of the snapshot that has bounded something."""
        self._all = [
            _Ceiling(
                getattr(ceiling, field),
                Patterns([ceiling.match]) if ceiling.match else None,
                End.of(ceiling.until) if ceiling.until else None,
                ceiling,
                number,
            )
            for number, ceiling in enumerate(ceilings)
            if ceiling.role in (None, role) and getattr(ceiling, field) is not None
        ]
        self._all.sort(key=lambda each: each.rate)  # the lowest one decides
        self._for_all = [each for each in self._all if each.patterns is None]
        self.with_match = [each.of for each in self._all if each.of.match]
        self._matches = Patterns(each.match or "" for each in self.with_match)

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._all)

    def find(self, compared: Sequence[str]) -> Ceiling | None:
        """Return the lowest ceiling that fits now."""
        found = self._find(compared)
        return None if found is None else found.of

    def lowest(self, compared: Sequence[str]) -> float:
        """Return the rate of that ceiling, which has bounded something; 1 if none fits."""
        found = self._find(compared)
        if found is None:
            return 1.0
        self.matched |= 1 << found.number
        return found.rate

    def _find(self, compared: Sequence[str]) -> _Ceiling | None:
        some = self._all if self._matches.may_fit(compared) else self._for_all
        for each in some:
            if (each.end is None or not each.end.is_over()) and (
                each.patterns is None or each.patterns.first(compared) is not None
            ):
                return each
        return None


class _Ceiling(NamedTuple):
    rate: float
    patterns: Patterns | None
    end: End | None
    of: Ceiling
    number: int
