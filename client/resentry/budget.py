"""A budget of events per minute, which a process spends evenly: there are no windows.

What is left fills up all the time, like the tokens of a token bucket. The less there is
left, the smaller a share of the events may pass. So the rate follows the load by itself: at
ten times the budget a tenth passes, in each second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resentry import clock

if TYPE_CHECKING:
    from collections.abc import Callable

HELD_SECONDS = 3.0
"""At most the budget of so many seconds is held, for a burst."""
LEAST = 1.5
"""A small budget holds so many events, or it could not let one pass."""


class Budget:
    """What one process may still send of one kind.

    It is used without a lock, for a fork must not inherit a held one. Two threads at the
    same moment may count one event instead of two.
    """

    def __init__(
        self, per_minute: float, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute / 60
        self._third = max(self._per_second * HELD_SECONDS, LEAST) / 3
        self._left = 3 * self._third
        self._now = now
        self._at = now()

    def share(self, *, first: bool = False) -> float:
        """Return the share of events that may pass now, from 0 to 1.

        A third of what is held is kept for events that go `first`.
        """
        left = self._refilled() - (0.0 if first else self._third)
        return min(max(left / self._third, 0.0), 1.0)

    def spend(self) -> None:
        """Count an event that passes."""
        self._left = self._refilled() - 1.0

    def _refilled(self) -> float:
        now = self._now()
        filled = self._left + (now - self._at) * self._per_second
        # What was overspent is paid back, but not for longer than is held.
        most = 3 * self._third
        self._left, self._at = min(max(filled, -most), most), now
        return self._left
