"""Where Sentry's settings are read."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.candidate import Candidate


class Source(Protocol):
    """Something that holds a candidate."""

    def read(self, until: float = math.inf) -> Candidate:
        """Return what the source holds now, or raise a `SourceError`.

        It ends at `until`, a monotonic time.
        """

    def abort(self) -> None:
        """Make a `read` that another thread is in fail soon: the agent ends."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when the source has changed.

        Before the first `read`: that begins to watch.
        """

    def due_seconds(self) -> float | None:
        """In how many seconds the source itself needs a pass, or `None` for never."""

    def forget_backoff(self) -> None:
        """Forget what is being waited for after a failure: an operator asks."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the source; no secret is in it."""

    def close(self) -> None:
        """Give back what was taken. Nothing is read any more."""
