"""What went another than the plain way in one process, as its receipt tells."""

from __future__ import annotations


class Tally:
    """Figures that only grow, from zero in each process."""

    def __init__(self) -> None:
        self.parked = 0
        """Envelopes that a revoked DSN refused, kept for the next DSN."""
        self.rerouted = 0
        """Envelopes that went to the DSN after theirs."""
        self.dropped = 0
        """Envelopes that no DSN could be given."""
        self.unknown = 0
        """Envelopes that a hung DSN may have taken or not."""
        self.faults = 0
        """Exceptions inside the library that were kept from the application."""

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return dict(vars(self))
