"""Which roles have processes that end soon after their start, again and again."""

from __future__ import annotations

from collections import Counter, deque

SOON_SECONDS = 120.0
"""A process that was found dead after less than this time ended soon."""
KEPT_SECONDS = 900.0
"""An end counts for this time."""
_LIMIT = 200


class Ends:
    """The ends of the last quarter of an hour."""

    def __init__(self) -> None:
        self._ends = deque[tuple[float, str]](maxlen=_LIMIT)

    def note(self, role: str, age: float, now: float) -> None:
        """Note that a process of this age was found dead at the monotonic time `now`."""
        if age < SOON_SECONDS:
            self._ends.append((now, role))

    def by_role(self, now: float) -> dict[str, int]:
        """Return how many processes of each role ended soon after their start."""
        return dict(Counter(role for at, role in self._ends if now - at < KEPT_SECONDS))
