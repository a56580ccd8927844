"""The agent's own files, which outlast restarts, in a directory that only it reads."""

from __future__ import annotations

import contextlib
import os

from agent.domain.kept import decode_kept
from agent.domain.wishes import lasting_revision
from agent.publish.files import read_file
from resentry import formats
from resentry.beside import TEMPORARY_SUFFIX, replace_file
from resentry.contract import (
    ContractError,
    Snapshot,
    encode_snapshot,
)

HISTORY_DIR = "history"
HISTORY_LENGTH = 10
HISTORY_BYTES = 512 * 1024
"""The history is never larger than this, so that large snapshots do not fill the volume."""
STATE = "state.json"
"""The last state of the daemon, which `status` shows. It may be lost without harm."""
LAST_GOOD = "last-good.json"
"""The last good snapshot of the source, without a tuning and an operator's wishes."""
WISHES = "wishes.json"
"""What an operator asked for."""
NEWEST = "newest.json"
"""The newest version of each secret that was read."""
TUNING = "tuning.json"
"""The last good tuning, as a snapshot that holds nothing else."""


class Memory:
    """Named files, and the history of published snapshots, in `directory`."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def read(self, name: str) -> bytes | None:
        """Return the content of one file, or `None` if it cannot be read."""
        return read_file(f"{self._directory}/{name}")

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
            return decode_kept(self.read(name) or b"")
        except ContractError:
            return None

    def remember(self, snapshot: Snapshot) -> str:
        """Add a published snapshot to the history, unless it is there.

        Old snapshots are removed before: the newest ten stay, or fewer if they are large.
        Returns why the snapshot could not be kept; else nothing.
        """
        if self.last_sequence() >= snapshot.sequence:
            return ""
        body = encode_snapshot(snapshot)
        name = f"{snapshot.sequence:08}-{snapshot.revision}.json"
        problem = f"revision {snapshot.revision} cannot be rolled back to later: "
        if len(body) > HISTORY_BYTES:
            return f"{problem}it is larger than {HISTORY_BYTES:,} bytes"
        try:
            os.makedirs(f"{self._directory}/{HISTORY_DIR}", 0o700, exist_ok=True)
            if not self._differs_by_boosts(snapshot):
                self._prune(HISTORY_LENGTH - 1, HISTORY_BYTES - len(body))
                self.write(f"{HISTORY_DIR}/{name}", body)
        except OSError as error:
            return f"{problem}cannot write {HISTORY_DIR}/{name}: {error.strerror}"
        return ""

    def _differs_by_boosts(self, snapshot: Snapshot) -> bool:
        """Whether at most boosts differ from the newest snapshot: they are no history.

        The newest snapshot then stays, with its time. Its file gets the new number.
        """
        newest = "".join(self._names()[:1])
        before = self.read_snapshot(f"{HISTORY_DIR}/{newest}") if newest else None
        if before is None:
            return False
        if lasting_revision(before) != lasting_revision(snapshot):
            return False
        folder = f"{self._directory}/{HISTORY_DIR}"
        name = f"{snapshot.sequence:08}-{before.revision}.json"
        os.rename(f"{folder}/{newest}", f"{folder}/{name}")
        return True

    def give_up_history(self) -> None:
        """Make room: remove all but the newest snapshot."""
        self._prune(1, HISTORY_BYTES)

    def _prune(self, number: int, size: int) -> None:
        """Remove the oldest snapshots above this number, and above this size in bytes."""
        for name in self._names():
            path = f"{self._directory}/{HISTORY_DIR}/{name}"
            number, size = number - 1, size - os.stat(path).st_size
            if number < 0 or size < 0:
                os.unlink(path)

    def last_sequence(self) -> int:
        """Return the sequence number of the newest snapshot, readable or not; 0 without any."""
        return max(map(_number, self._names()), default=0)

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
        return sorted(
            (n for n in names if n.endswith(".json")), key=_number, reverse=True
        )


def _number(name: str) -> int:
    try:
        return formats.whole(name.partition("-")[0])
    except ValueError:
        return 0
