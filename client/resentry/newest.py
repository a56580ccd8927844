"""The newest snapshot of a volume as it comes, and what keeps it from being read."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

from resentry import clock
from resentry.advice import (
    explain,
    is_mounted_alone,
    never_changes,
    nothing_published,
)
from resentry.contract import SETTINGS_FILE, ContractError
from resentry.harmless import Notice, say

if TYPE_CHECKING:
    from resentry.contract import Snapshot
    from resentry.reader import Mark, SharedDir

_RETRY_SECONDS = 60.0
"""At most so long after a failed build the next one is tried; 1 s after the first."""


class _Failure(NamedTuple):
    """A snapshot that could not be built: of which file, how often, when again."""

    mark: Mark
    times: int
    again_at: float


class Newest:
    """Looks at one volume for one `init`."""

    def __init__(self, volume: SharedDir) -> None:
        self._volume = volume
        self._seen: Mark | None = None
        self._settled: Mark | None = None
        self._failure: _Failure | None = None
        self._advice: str | None = None
        self.unread: str | None = None
        """Why the file is no snapshot."""
        self.unreachable = Notice()
        """Why there is no file, or none that can be read."""

    def look(self) -> Snapshot | None:
        """Return a snapshot that is new, or due again; then say what came of it."""
        directory = self._volume.directory
        try:
            mark = self._volume.mark()
            snapshot = self._read(mark) if mark and self._is_due(mark) else None
        except FileNotFoundError:
            return None  # replaced this moment; the next look has it
        except OSError as error:
            # Looked at again each second: rights may change without the file.
            self.unreachable.note(explain("can't read", directory, error))
            return None
        missing = nothing_published(directory) if mark is None else None
        self.unreachable.note(missing or self._never_changes())
        return snapshot

    def _read(self, mark: Mark) -> Snapshot | None:
        try:
            snapshot = self._volume.read()
        except ContractError as error:
            if self.unread != str(error):
                self.unread = str(error)
                say(logging.ERROR, "Failed to initialize Sentry: %s", self.unread)
            return None
        self.unread, self._seen = None, mark
        return snapshot

    def _never_changes(self) -> str | None:
        """Say why this file would never be replaced, asked once."""
        if self._advice is None:
            path = f"{self._volume.directory}/{SETTINGS_FILE}"
            self._advice = never_changes(path) if is_mounted_alone(path) else ""
        return self._advice or None

    def _is_due(self, mark: Mark) -> bool:
        failure = self._failure
        if failure is not None and failure.mark == mark:
            return clock.monotonic() >= failure.again_at
        return mark != self._settled

    def settle(self) -> None:
        """Take what was returned last as done with: it runs, or is refused for good."""
        self._settled, self._failure = self._seen, None

    def fail(self) -> None:
        """Return it again: 1, 2, 4 ... 60 s from now."""
        if self._seen is None:
            return
        before = self._failure
        is_same = before is not None and before.mark == self._seen
        times = before.times + 1 if before is not None and is_same else 1
        pause = min(_RETRY_SECONDS, 2.0 ** (times - 1))
        self._failure = _Failure(self._seen, times, clock.monotonic() + pause)
