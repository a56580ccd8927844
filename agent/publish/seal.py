"""Tells whether anybody has touched the volume, by the times that the kernel keeps of it.

The kernel notes the time of each change of a file and of a directory, and nobody can set
that time. So what has the same times as before has the same content.
"""

from __future__ import annotations

import os
import time
from operator import attrgetter

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
        self._kept = [f"{private}/{name}" for name in names]
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
            self._published = [self._directory, data, *files]
            taken = self._times()
        except OSError:
            return
        if {name for name in names if name[:2] == ".."} != {DATA_LINK, generation}:
            return  # a replaced directory stays for a while: passes have to remove it
        latest = max(times[-1] for times in taken if len(times) > len(FRAME))
        if latest < time.time_ns() - QUIET_SECONDS * 1e9:
            self._taken, self._holding = taken, holding
            self._ends_at = time.monotonic() + TRUST_SECONDS

    def holds(self, holding: object) -> bool:
        """Whether all is as it was when the seal was taken, with the same object in it."""
        is_valid = self._taken and holding is self._holding
        if not is_valid or time.monotonic() >= self._ends_at:
            return False
        try:
            return self._times() == self._taken
        except OSError:
            return False

    def _times(self) -> Times:
        """Return the times of all files. Raises `OSError` if one is missing that must be."""
        frames = map(_frame, map(os.stat, self._frames))
        published = map(_whole, map(os.stat, self._published))
        return [*frames, *map(_kept, self._kept), *published]


FRAME = ("st_dev", "st_ino", "st_mode", "st_uid", "st_gid")
"""Which file this is, and who may do what with it."""
_frame = attrgetter(*FRAME)
_whole = attrgetter(*FRAME, "st_size", "st_mtime_ns", "st_ctime_ns")
"""All of what the kernel knows of a file, its time of change last."""


def _kept(path: str) -> tuple[int, ...]:
    """Return the status of a file that need not be there; empty without one."""
    try:
        found: tuple[int, ...] = _whole(os.stat(path))
    except OSError:
        return ()
    return found
