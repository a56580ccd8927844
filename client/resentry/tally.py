"""Counts what took an unusual way in one process. The receipt shows the counts."""

from __future__ import annotations


class Tally:
    """Counters that start at zero in each process and only grow."""

    def __init__(self) -> None:
        self.parked = 0
        """Envelopes that a revoked DSN refused, and that wait for the next DSN."""
        self.rerouted = 0
        """Envelopes that were sent to the next DSN instead of their own."""
        self.dropped = 0
        """Envelopes that were lost, because no DSN could have them."""
        self.unknown = 0
        """Envelopes that a DSN which hung may have stored or not."""
        self.faults = 0
        """Exceptions in the library that the application did not notice."""

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return dict(vars(self))


TALLIES = tuple(vars(Tally()))
"""The names of the counters."""
