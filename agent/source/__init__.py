"""Where Sentry's settings are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agent.domain.candidate import Candidate


class Source(Protocol):
    """Something that holds a candidate."""

    def read(self) -> Candidate:
        """Return what the source holds now, or raise a `SourceError`."""

    def abort(self) -> None:
        """Make a `read` that another thread is in fail soon. Harmless otherwise."""
