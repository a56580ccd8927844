"""Keeps envelopes that a revoked DSN refused, for the next DSN."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from resentry import clock
from resentry.process import here

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

PARKED_ENVELOPES = 1000
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60


class _Parked(NamedTuple):
    envelope: Envelope
    size: int
    until: float


class Parking:
    """Keeps envelopes within bounds of number, bytes and time.

    Callers hold the line's lock. `drop` gets each envelope above a bound, the oldest first.
    """

    def __init__(self, drop: Callable[[Envelope], None]) -> None:
        self._parked: deque[_Parked] = deque()
        self._drop = drop
        self._bytes = 0

    def add(self, envelope: Envelope, size: int) -> None:
        """Keep an envelope of `size` bytes."""
        parked, now = self._parked, clock.monotonic()
        parked.append(_Parked(envelope, size, now + PARKED_SECONDS))
        self._bytes += size
        here().tally.parked += 1
        while parked and (
            len(parked) > PARKED_ENVELOPES
            or self._bytes > PARKED_BYTES
            or parked[0].until < now
        ):
            first = parked.popleft()
            self._bytes -= first.size
            self._drop(first.envelope)

    def take(self) -> list[Envelope]:
        """Return and forget the envelopes that are not too old; drop the others."""
        parked, self._parked, self._bytes = self._parked, deque(), 0
        now = clock.monotonic()
        for entry in parked:
            if entry.until < now:
                self._drop(entry.envelope)
        return [entry.envelope for entry in parked if entry.until >= now]
