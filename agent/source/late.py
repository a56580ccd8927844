"""A source that could not be opened when the agent started."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.newest import Mark
    from agent.source import Source


class LateSource:
    """Tries to open a source at each `read`. Until it succeeds, each `read` is an error.

    So the agent goes on with what is published, and says what is wrong.
    """

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._open = open_source
        self._source: Source | None = None
        self._changed: Callable[[], None] | None = None
        self._newest: Mapping[str, Mark] = {}

    def read(self, until: float = math.inf) -> Candidate:
        """Open the source, if it is not open, and read it."""
        if self._source is None:
            source = self._open()
            source.remember(self._newest)
            if self._changed is not None:
                source.on_change(self._changed)
            self._source = source
        return self._source.read(until)

    def on_change(self, changed: Callable[[], None]) -> None:
        """Keep `changed` for the source."""
        self._changed = changed

    def remember(self, newest: Mapping[str, Mark]) -> None:
        """Keep the newest versions for the source."""
        self._newest = newest

    def abort(self) -> None:
        """Abort the source's `read`."""
        if self._source is not None:
            self._source.abort()

    def due_seconds(self) -> float | None:
        """Ask the source."""
        return None if self._source is None else self._source.due_seconds()

    def forget_backoff(self) -> None:
        """Have the source forget its back-off."""
        if self._source is not None:
            self._source.forget_backoff()

    def accept_older(self) -> None:
        """Have the source accept older versions."""
        if self._source is not None:
            self._source.accept_older()

    def report(self) -> dict[str, Any]:
        """Return the source's report; nothing before it is open."""
        return {} if self._source is None else self._source.report()

    def close(self) -> None:
        """Close the source."""
        if self._source is not None:
            self._source.close()
