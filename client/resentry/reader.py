"""The newest snapshot on the volume, or why there is none."""

from __future__ import annotations

import os
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
