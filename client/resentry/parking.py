"""What a revoked DSN has refused, kept for the DSN that comes after it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from resentry import clock
from resentry.process import here

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope

PARKED_ENVELOPES = 1000
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60


class _Parked(NamedTuple):
    envelope: Envelope
    size: int
    until: float


class Parking:
    """Envelopes for a while: so many, so large, so long. Callers hold the line's lock."""

    def __init__(self) -> None:
        self._parked: deque[_Parked] = deque()
        self._bytes = 0

    def add(self, envelope: Envelope, size: int) -> None:
        """Keep it; what is over the bounds is dropped, and counted, the oldest first."""
        parked, now, tally = self._parked, clock.monotonic(), here().tally
        parked.append(_Parked(envelope, size, now + PARKED_SECONDS))
        self._bytes += size
        tally.parked += 1
        while parked and (
            len(parked) > PARKED_ENVELOPES
            or self._bytes > PARKED_BYTES
            or parked[0].until < now
        ):
            self._bytes -= parked.popleft().size
            tally.dropped += 1

    def take(self) -> list[Envelope]:
        """Give back what is kept, and is not too old."""
        parked, self._parked, self._bytes = self._parked, deque(), 0
        now = clock.monotonic()
        fresh = [one.envelope for one in parked if one.until >= now]
        here().tally.dropped += len(parked) - len(fresh)
        return fresh
