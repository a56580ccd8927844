"""Compares each read of Vault with the newest versions that were read before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.domain.newest import after, is_older, remembered
from agent.errors import SourceStale
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.newest import Mark

QUIET_SECONDS = 600.0
"""Without a stale read for this long, a run of stale reads is over."""


class Freshness:
    """The newest version of each secret, and the run of stale reads that goes on now."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._last = float("-inf")
        self.newest: Mapping[str, Mark] = {}
        self.reads = 0
        """The number of stale reads since the agent started."""
        self._began: float | None = None

    def problem(self, marks: Mapping[str, Mark]) -> SourceStale | None:
        """Return the error of a read with these versions; `None` if none is older."""
        for path, mark in marks.items():
            newest = self.newest.get(path)
            if newest is not None and is_older(mark, newest):
                return SourceStale(
                    f"Vault gives an older {path} than before: {mark.shown}, after "
                    f"{newest.shown}",
                    "a standby or a replica may lag: the agent tries again soon. If Vault "
                    "was restored from a backup, resentry-agent refresh --accept-older "
                    "(or once --accept-older) takes what it holds now",
                )
        return None

    def note(self) -> None:
        """Note a stale read."""
        now = self._now()
        if self._began is None or now - self._last > QUIET_SECONDS:
            self._began = time.time()
        self._last = now
        self.reads += 1

    def took(self, marks: Mapping[str, Mark]) -> None:
        """Note a read that counts, as none of its versions is older."""
        read = {
            path: after(mark, self.newest.get(path)) for path, mark in marks.items()
        }
        self.newest = remembered(self.newest, read)

    def took_older(self, marks: Mapping[str, Mark]) -> None:
        """Note a read that an operator accepts, whatever was read before."""
        self.newest = remembered(self.newest, marks)
        self._began = None

    @property
    def since(self) -> str | None:
        """When the run of stale reads began that goes on now."""
        if self._began is None or self._now() - self._last > QUIET_SECONDS:
            return None
        return time_text(self._began, "seconds")

    def notes(self) -> tuple[str, ...]:
        """A note for an operator while stale reads go on."""
        if self.since is None:
            return ()
        note = (
            f"Vault gives older versions now and then, since {self.since}: a standby or a "
            "replica lags; such a read changes nothing"
        )
        return (note,)

    def report(self) -> dict[str, Any]:
        """Return what `status` shows."""
        return {"stale_reads": self.reads, "stale_since": self.since}
