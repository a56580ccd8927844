"""Which roles have processes that end soon after their start, again and again."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

SOON_SECONDS = 120.0
"""A process that ended after less than this time ended soon."""
KEPT_SECONDS = 900.0
"""An end counts for this time."""
_LIMIT = 200


class Ends:
    """The ends of the last quarter of an hour. All times are monotonic.

    A target that is gone has ended, whoever removed its files: the process itself, as it
    does at a clean end, the agent, or another process that started meanwhile.
    """

    def __init__(self) -> None:
        self._ends = deque[tuple[float, str]](maxlen=_LIMIT)
        self._live: dict[str, tuple[str, float]] = {}

    def knows(self, target: str) -> bool:
        """Return true if this target was added and is not gone yet."""
        return target in self._live

    def add(self, target: str, role: str, began: float) -> None:
        """Add a target that began at `began`."""
        self._live[target] = role, began

    def follow(self, present: AbstractSet[str], now: float, *, is_whole: bool) -> None:
        """Note which targets are gone. They count if `present` names all live targets."""
        for target in self._live.keys() - present:
            role, began = self._live.pop(target)
            if is_whole and now - began < SOON_SECONDS:
                self._ends.append((now, role))

    def by_role(self, now: float) -> dict[str, int]:
        """Return how many processes of each role ended soon after their start."""
        return dict(Counter(role for at, role in self._ends if now - at < KEPT_SECONDS))
