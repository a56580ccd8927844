"""What went another than the plain way in one process, as its receipt tells."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Tally:
    """Figures that only grow, from zero in each process."""

    parked: int = 0
    """Envelopes that a revoked DSN refused, kept for the next DSN."""
    rerouted: int = 0
    """Envelopes that went to the DSN after theirs."""
    dropped: int = 0
    """Envelopes that no DSN could be given."""
    unknown: int = 0
    """Envelopes that a hung DSN may have taken or not."""
    faults: int = 0
    """Exceptions inside the library that were kept from the application."""

    def as_dict(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)
