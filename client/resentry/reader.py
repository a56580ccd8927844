"""The newest snapshot on the volume, or why there is none."""

from __future__ import annotations

import logging
import os
import stat
import time
from typing import TYPE_CHECKING, NamedTuple

from resentry import clock, formats
from resentry.contract import (
    DEFAULT_DIR,
    RECEIPTS_DIR,
    SETTINGS_FILE,
    SETTINGS_LIMIT_BYTES,
    ContractError,
    Snapshot,
    decode_snapshot,
)
from resentry.harmless import say

if TYPE_CHECKING:
    from collections.abc import Mapping

Mark = tuple[int, int, int]
"""What changes when the file does: inode, modification time, size."""


class SharedDir(NamedTuple):
    """The two directories that a target shares with the agent."""

    directory: str
    receipts: str
    expected: bool
    """Whether a snapshot is meant to be here: named, or the default exists."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> SharedDir:
        """Read `RESENTRY_DIR` and `RESENTRY_RECEIPTS`; they are named from here on."""
        named = environ.get("RESENTRY_DIR")
        directory = _absolute(named or DEFAULT_DIR)
        receipts = environ.get("RESENTRY_RECEIPTS") or f"{directory}/{RECEIPTS_DIR}"
        expected = bool(named) or os.path.isdir(directory)
        return cls(directory, _absolute(receipts), expected)

    def await_first(self, environ: Mapping[str, str]) -> None:
        """Wait for the first snapshot, at most `RESENTRY_WAIT_SECONDS`."""
        if not self.expected:
            return
        deadline = clock.monotonic() + _seconds(environ.get("RESENTRY_WAIT_SECONDS"))
        while self._is_missing() and clock.monotonic() < deadline:
            time.sleep(0.02)

    def _is_missing(self) -> bool:
        try:
            return self.mark() is None
        except OSError:
            return True

    def mark(self) -> Mark | None:
        """Return the snapshot file's mark, or `None` while there is no file.

        Raises OSError where that can't be said: no right, no directory.
        """
        try:
            found = os.stat(f"{self.directory}/{SETTINGS_FILE}")
        except FileNotFoundError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self) -> Snapshot:
        """Return the snapshot; raise `OSError` or `ContractError`.

        One file, opened once: it is whole, whatever the agent does meanwhile. What is
        no file (a pipe, a device) is not waited for.
        """
        path = f"{self.directory}/{SETTINGS_FILE}"
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ContractError(f"{SETTINGS_FILE} is no regular file")
            body = file.read(SETTINGS_LIMIT_BYTES + 1)
        if len(body) > SETTINGS_LIMIT_BYTES:
            raise ContractError(f"{SETTINGS_FILE} is larger than a snapshot can be")
        return decode_snapshot(body)


NOWHERE = SharedDir("", "", expected=False)
"""Of a process that has not called `init`."""


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # a relative path, and the working directory is gone
        return path


def _seconds(text: str | None) -> float:
    try:
        return formats.number(text or 0)
    except ValueError:
        text = "RESENTRY_WAIT_SECONDS is not a number of seconds; not waiting"
        say(logging.WARNING, text)
        return 0.0
