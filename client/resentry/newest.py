"""Looks for a new snapshot on a volume, and knows why it cannot be read."""

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
"""The longest pause between two attempts to build a client; the first pause is 1 s."""


_AT_FIRST = "Failed to initialize Sentry: %s"
_LATER = "resentry: cannot use the new snapshot: %s; this process keeps its settings"


class _Failure(NamedTuple):
    """A snapshot for which no client could be built: its file, attempts, next attempt."""

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
        """Why the file is not a valid snapshot."""
        self.unreachable = Notice()
        """Why there is no file, or why it cannot be read."""

    def look(self) -> Snapshot | None:
        """Return a snapshot that is new or due again. Call `settle` or `fail` afterwards."""
        directory = self._volume.directory
        try:
            mark = self._volume.mark()
            snapshot = self._read(mark) if mark and self._is_due(mark) else None
        except FileNotFoundError:
            return None  # it is being replaced; the next look will find it
        except OSError as error:
            # The next look tries again: permissions can change while the file does not.
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
                text = _AT_FIRST if self._seen is None else _LATER
                say(logging.ERROR, text, self.unread)
            return None
        if self.unread is not None:
            text = "resentry: the snapshot can be read again; the error before is over"
            say(logging.WARNING, text)
        self.unread, self._seen = None, mark
        return snapshot

    def _never_changes(self) -> str | None:
        """Return why this file will never be replaced, or None. Checked once."""
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
        """Do not return the last snapshot again: it runs, or is refused for good."""
        self._settled, self._failure = self._seen, None

    def fail(self) -> None:
        """Return the last snapshot again after 1, 2, 4 ... 60 s."""
        if self._seen is None:
            return
        before = self._failure
        is_same = before is not None and before.mark == self._seen
        times = before.times + 1 if before is not None and is_same else 1
        pause = min(_RETRY_SECONDS, 2.0 ** (times - 1))
        self._failure = _Failure(self._seen, times, clock.monotonic() + pause)
