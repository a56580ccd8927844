"""The agent's own files, which outlast restarts, in a directory that only it reads."""

from __future__ import annotations

import contextlib
import os

from resentry import formats
from resentry.beside import TEMPORARY_SUFFIX, replace_file
from resentry.contract import (
    ContractError,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)

HISTORY_DIR = "history"
HISTORY_LENGTH = 10
STATE = "state.json"
"""The last state of the daemon, which `status` shows. It may be lost without harm."""
LAST_GOOD = "last-good.json"
"""The last good snapshot, without an operator's wishes."""
WISHES = "wishes.json"
"""What an operator asked for."""
NEWEST = "newest.json"
"""The newest version of each secret that was read."""


class Memory:
    """Named files, and the history of published snapshots, in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read(self, name: str) -> bytes | None:
        """Return the content of one file, or `None` if it cannot be read."""
        try:
            with open(f"{self._directory}/{name}", "rb") as file:
                return file.read()
        except OSError:
            return None

    def write(self, name: str, body: bytes, *, flush: bool = True) -> None:
        """Replace one file. After an `OSError` the old file is still there."""
        replace_file(f"{self._directory}/{name}", body, 0o600, flush=flush)

    def sweep(self) -> None:
        """Remove temporary files that a crash left."""
        for folder in (self._directory, f"{self._directory}/{HISTORY_DIR}"):
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(folder):
                    if name.endswith(TEMPORARY_SUFFIX):
                        os.unlink(f"{folder}/{name}")

    def read_snapshot(self, name: str) -> Snapshot | None:
        """Return the snapshot in one file, or `None` if it cannot be read."""
        try:
            return decode_snapshot(self.read(name) or b"")
        except ContractError:
            return None

    def remember(self, snapshot: Snapshot) -> None:
        """Add a published snapshot to the history, which keeps the newest ten."""
        os.makedirs(f"{self._directory}/{HISTORY_DIR}", 0o700, exist_ok=True)
        name = f"{snapshot.sequence:08}-{snapshot.revision}.json"
        self.write(f"{HISTORY_DIR}/{name}", encode_snapshot(snapshot))
        for old in self._names()[HISTORY_LENGTH:]:
            os.unlink(f"{self._directory}/{HISTORY_DIR}/{old}")

    def last_sequence(self) -> int:
        """Return the sequence number of the newest snapshot, readable or not; 0 without any."""
        numbers = [0]
        for name in self._names():
            with contextlib.suppress(ValueError):
                numbers.append(formats.whole(name.partition("-")[0]))
        return max(numbers)

    def history(self) -> list[Snapshot]:
        """Return the last ten published snapshots, newest first."""
        names = self._names()[:HISTORY_LENGTH]
        snapshots = [self.read_snapshot(f"{HISTORY_DIR}/{name}") for name in names]
        return [snapshot for snapshot in snapshots if snapshot is not None]

    def _names(self) -> list[str]:
        try:
            names = os.listdir(f"{self._directory}/{HISTORY_DIR}")
        except OSError:
            return []
        return sorted((name for name in names if name.endswith(".json")), reverse=True)
