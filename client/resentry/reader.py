"""The newest snapshot on the volume, or why there is none."""

from __future__ import annotations

import logging
import math
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from resentry.contract import (
    DEFAULT_DIR,
    RECEIPTS_DIR,
    SETTINGS_FILE,
    SETTINGS_LIMIT_BYTES,
    ContractError,
    Snapshot,
    decode_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("resentry")

Mark = tuple[int, int, int]
"""What changes when the file does: inode, modification time, size."""


class Volume(NamedTuple):
    """The two directories that a target shares with the agent."""

    directory: str
    receipts: str
    expected: bool
    """Whether a snapshot is meant to be here: named, or the default exists."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Volume:
        """Read `RESENTRY_DIR` and `RESENTRY_RECEIPTS`."""
        named = environ.get("RESENTRY_DIR")
        directory = named or DEFAULT_DIR
        receipts = environ.get("RESENTRY_RECEIPTS") or f"{directory}/{RECEIPTS_DIR}"
        return cls(directory, receipts, bool(named) or os.path.isdir(directory))

    def await_first(self, environ: Mapping[str, str]) -> None:
        """Wait for the first snapshot, at most `RESENTRY_WAIT_SECONDS`."""
        deadline = time.monotonic() + _seconds(environ.get("RESENTRY_WAIT_SECONDS"))
        while self.expected and self.mark() is None and time.monotonic() < deadline:
            time.sleep(0.02)

    def mark(self) -> Mark | None:
        """Return the snapshot file's mark, or `None` while there is no file."""
        try:
            found = os.stat(f"{self.directory}/{SETTINGS_FILE}")
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def read(self) -> Snapshot:
        """Return the snapshot; raise `OSError` or `ContractError`.

        One file, opened once: it is whole, whatever the agent does meanwhile.
        """
        with open(f"{self.directory}/{SETTINGS_FILE}", "rb") as file:
            body = file.read(SETTINGS_LIMIT_BYTES + 1)
        if len(body) > SETTINGS_LIMIT_BYTES:
            raise ContractError(f"{SETTINGS_FILE} is larger than a snapshot can be")
        return decode_snapshot(body)


def _seconds(text: str | None) -> float:
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = math.nan
    if math.isfinite(seconds):
        return seconds
    log.warning("RESENTRY_WAIT_SECONDS is not a number of seconds; not waiting")
    return 0.0
