"""A budget of events per minute, which a process spends evenly: there are no windows.

What is left fills up all the time, like the tokens of a token bucket. While much is left,
all events pass: so a load below the budget is not touched, however uneven it is. Over the last
second of the budget the share that may pass falls with what is left. So the rate follows the load
by itself: at ten times the budget a tenth passes, in each second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resentry import clock

if TYPE_CHECKING:
    from collections.abc import Callable

HELD_SECONDS = 5.0
"""The budget of so many seconds is held, for a burst that passes whole."""
HELD_EVENTS = 30.0
"""A small budget holds so many events, but not more than a minute of it."""
FIRST_EVENTS = 10.0
"""So many more are held for what goes first, but not more than half a minute."""
LEAST = 0.5
"""A small budget needs so much left, or it could not let one pass."""


class Budget:
    """What one process may still send of one kind.

    It is used without a lock, for a fork must not inherit a held one. Two threads at the
    same moment may see the same share, but each event is counted. Python 3.10 alone may
    lose a count if threads send without a pause.
    """

    def __init__(
        self, per_minute: float, now: Callable[[], float] = clock.monotonic
    ) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute / 60
        self.burst = max(self._per_second * HELD_SECONDS, min(per_minute, HELD_EVENTS))
        """So many events pass at once after a rest, and none of them is cut."""
        self._falling = max(self._per_second, LEAST)
        """While less than this is left, only a share passes."""
        self._kept = self._falling + min(per_minute / 2, FIRST_EVENTS)
        """This is kept for events that go first."""
        self._most = self._kept + self._falling + self.burst
        self._now = now
        self._state = self._most, now()
        """What was left, and when."""

    def share(self, *, first: bool = False) -> float:
        """Return the share of events that may pass now, from 0 to 1."""
        left = self._count(0.0) - (0.0 if first else self._kept)
        return 1.0 if left >= self._falling else max(left / self._falling, 0.0)

    def can_overdraw(self) -> bool:
        """Whether an event may pass that no share bounds: a minute's budget is lent."""
        return self._count(0.0) >= 1.0 - self.per_minute

    def spend(self) -> None:
        """Count an event that passes."""
        self._count(1.0)

    def give_back(self) -> None:
        """Count an event less: it was not sent in the end."""
        self._count(-1.0)

    def _count(self, spent: float) -> float:
        now, most, least = self._now(), self._most, -self.per_minute
        # Between reading and writing the state there is no call, for there another thread
        # might go on: then what that thread spends would be lost.
        left, at = self._state
        left += (now - at) * self._per_second - spent
        if left > most or left < least:
            left = most if left > least else least
        self._state = left, now
        return left
