"""Reads Sentry's settings: from Vault, or from mounted files, and a tuning file on top."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.newest import Mark
    from agent.domain.view import Problem
    from resentry.contract import Snapshot


class Source(Protocol):
    """A place that holds the candidate."""

    def read(self, until: float = math.inf) -> Candidate:
        """Return the candidate of now, or raise a `SourceError`.

        `until` is the deadline, a monotonic time.
        """

    def abort(self) -> None:
        """Make a running `read` of another thread fail soon, because the agent stops."""

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, in any thread, when the source has changed.

        Call this before the first `read`, which starts the watch.
        """

    def due_seconds(self) -> float | None:
        """Return in how many seconds the source needs a pass; `None` if it needs none."""

    def forget_backoff(self) -> None:
        """Forget the back-off after failures, because an operator asks for a pass."""

    def remember(self, newest: Mapping[str, Mark]) -> None:
        """Start from the newest versions that an earlier agent has read."""

    def accept_older(self) -> None:
        """Accept older versions in the next `read`, because an operator asks for it."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the source. It holds no secret."""

    def close(self) -> None:
        """Revoke the token and stop watching. Nothing is read after this."""


class NoTuning:
    """A tuning file that is not set: the source alone counts."""

    problems: tuple[Problem, ...] = ()
    """Why the tuning file is not in force; at most one."""
    kept: bytes | None = None
    """The last good tuning, as it is kept on the volume."""

    def restore(self, last_good: Snapshot | None) -> None:
        """Begin with the last good tuning of an earlier agent."""

    def look(self) -> None:
        """Have the file read, in a thread of its own."""

    def wait(self, seconds: float) -> None:
        """Wait for that thread, at most so long."""

    def over(self, of_source: Snapshot | None, _now: float) -> Snapshot | None:
        """Return the source's snapshot, if there is one, with the tuning on top."""
        return of_source

    def on_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, in any thread, when something else was read."""

    def report(self) -> dict[str, Any]:
        """Return what `status` shows of the tuning file; nothing if it is not set."""
        return {}

    def close(self) -> None:
        """Stop watching."""
