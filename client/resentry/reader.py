"""Reads the newest snapshot from the volume."""

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
"""Inode, modification time and size of a file: they change when the file is replaced."""


class SharedDir(NamedTuple):
    """The two directories that a target shares with the agent."""

    directory: str
    receipts: str
    expected: bool
    """Whether an agent should write here: `RESENTRY_DIR` is set, or the default exists."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> SharedDir:
        """Read `RESENTRY_DIR` and `RESENTRY_RECEIPTS`."""
        named = environ.get("RESENTRY_DIR")
        directory = _absolute(named or DEFAULT_DIR)
        receipts = environ.get("RESENTRY_RECEIPTS") or f"{directory}/{RECEIPTS_DIR}"
        expected = bool(named) or os.path.isdir(directory)
        return cls(directory, _absolute(receipts), expected)

    def await_first(self, environ: Mapping[str, str]) -> None:
        """Wait up to `RESENTRY_WAIT_SECONDS` for the first snapshot."""
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
        """Return the mark of the snapshot's file; `None` while there is no file.

        Raises OSError if the file cannot be looked at (no permission, for example).
        """
        try:
            file = os.stat(f"{self.directory}/{SETTINGS_FILE}")
        except FileNotFoundError:
            return None
        return (file.st_ino, file.st_mtime_ns, file.st_size)

    def read(self) -> Snapshot:
        """Return the snapshot; raise `OSError` or `ContractError`.

        The file is opened once, so it is whole, whatever the agent does meanwhile. A pipe
        or a device in its place is an error and is not waited for.
        """
        body = read_file(f"{self.directory}/{SETTINGS_FILE}", SETTINGS_LIMIT_BYTES)
        return decode_snapshot(body)


NOWHERE = SharedDir("", "", expected=False)
"""Stands for the volume until `init` is called."""


def read_file(path: str, limit: int) -> bytes:
    """Return a file of the volume, or one byte more than the limit.

    Raises `OSError`, or `ContractError` for a pipe, a device or a directory.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags | getattr(os, "O_CLOEXEC", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ContractError(f"{os.path.basename(path)} is not a regular file")
        return file.read(limit + 1)


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:  # a relative path, and the working directory is gone
        return path


def _seconds(text: str | None) -> float:
    try:
        return formats.number(text or 0)
    except ValueError:
        text = "resentry: RESENTRY_WAIT_SECONDS is not a number: init does not wait"
        say(logging.WARNING, text)
        return 0.0
