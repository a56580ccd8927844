"""Tells whether anybody has touched the volume, by the times that the kernel keeps of it.

The kernel notes the time of each change of a file and of a directory, and nobody can set
that time. So what has the same times as before has the same content.
"""

from __future__ import annotations

import os
import time

from agent.publish.memory import HISTORY_DIR, LAST_GOOD, NEWEST, TUNING, WISHES
from agent.publish.names import PRIVATE_DIR
from resentry.contract import DATA_LINK

QUIET_SECONDS = 2.0
"""What changed later than this may change again without a later time: clocks are coarse."""
TRUST_SECONDS = 600.0
"""After this the content counts again: in memory, a mapped file changes without a time."""

Times = list[tuple[int, ...]]


class Seal:
    """The times of the volume in `directory`, after a pass that found all well there."""

    def __init__(self, directory: str, receipts: str) -> None:
        self._directory = directory
        private = f"{directory}/{PRIVATE_DIR}"
        # The agent keeps its state in the first, and processes write in the second.
        self._frames = [private, receipts, f"{private}/lock"]
        names = (HISTORY_DIR, LAST_GOOD, NEWEST, TUNING, WISHES)
        self._kept = [directory, *(f"{private}/{name}" for name in names)]
        self._published: list[str] = []
        self._taken: Times = []
        self._holding: object = None
        self._ends_at = 0.0

    def take(self, holding: object) -> None:
        """Seal the volume as it is now, unless something changed there just now.

        `holding` is what the volume holds.
        """
        self._taken = []
        try:
            generation = os.readlink(f"{self._directory}/{DATA_LINK}")
            names = os.listdir(self._directory)
            data = f"{self._directory}/{generation}"
            files = [f"{data}/{name}" for name in os.listdir(data)]
        except OSError:
            return
        if {name for name in names if name[:2] == ".."} != {DATA_LINK, generation}:
            return  # a replaced directory stays for a while: passes have to remove it
        self._published = [data, *files]
        taken = self._times()
        latest = max(times[-1] for times in taken if len(times) > FRAME)
        if latest < time.time_ns() - QUIET_SECONDS * 1e9:
            self._taken, self._holding = taken, holding
            self._ends_at = time.monotonic() + TRUST_SECONDS

    def holds(self, holding: object) -> bool:
        """Whether all is as it was when the seal was taken, with the same object in it."""
        is_valid = self._taken and holding is self._holding
        if not is_valid or time.monotonic() >= self._ends_at:
            return False
        return self._times() == self._taken

    def _times(self) -> Times:
        frames = [_status(path)[:FRAME] for path in self._frames]
        return frames + [_status(path) for path in (*self._kept, *self._published)]


FRAME = 5
"""The first fields of a status: which file this is, and who may do what with it."""


def _status(path: str) -> tuple[int, ...]:
    """Return what the kernel knows of a file, its time of change last; empty without one."""
    try:
        found = os.stat(path)
    except OSError:
        return ()
    which = found.st_dev, found.st_ino, found.st_mode, found.st_uid, found.st_gid
    return (*which, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
