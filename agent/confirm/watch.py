"""Notices at once that a receipt was written or removed, or a process died, by inotify.

A process holds its lock file open for writing as long as it lives. So its death closes the
file, however it dies, and that is an event. The kernel has freed the lock before the event.

Whoever may write receipts decides how many events come. So events are not kept: many
events make one call, and after each call the thread pauses.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

from resentry.contract import LOCK_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

_IN_MOVED_TO, _IN_DELETE, _IN_ONLYDIR = 0x80, 0x200, 0x1000000
_IN_CLOSE_WRITE = 0x8
_IN_MOVE_SELF, _IN_IGNORED = 0x800, 0x8000
_CHANGES = _IN_MOVED_TO | _IN_DELETE | _IN_CLOSE_WRITE | _IN_MOVE_SELF | _IN_ONLYDIR
_EVENT = struct.Struct("iIII")
_LOCK_SUFFIX = LOCK_SUFFIX.encode()
_READ_BYTES = 64 * 1024

PAUSE_SECONDS, LONGEST_SECONDS = 0.02, 2.0
"""The shortest and the longest time from one call to the next."""
SHARE = 0.2
"""A pause lasts until the process has used at most this share of a processor in it."""
RETRY_SECONDS = 1.0
"""The time between two tries to watch a directory that has been replaced."""


def watch_receipts(
    directory: str, changed: Callable[[], None]
) -> Callable[[], None] | None:
    """Call `changed` in a daemon thread. Returns what ends this; `None` without a watch.

    A dead target makes no event while a child that it forked keeps the lock file open. So
    the caller also has to look from time to time.
    """
    try:
        watch = _Watch(directory)
    except (OSError, AttributeError):  # no inotify here
        return None

    def work() -> None:
        while watch.wait():
            began, used = time.monotonic(), time.process_time()
            changed()
            _pause(began, used)

    threading.Thread(target=work, name="receipts", daemon=True).start()
    return watch.end


def _pause(began: float, used: float) -> None:
    """Wait longer the more work a call makes, whoever does the work.

    The call was at the monotonic time `began`, and the process had used that time of a
    processor.
    """
    while True:
        time.sleep(PAUSE_SECONDS)
        passed = time.monotonic() - began
        if time.process_time() - used <= SHARE * passed or passed > LONGEST_SECONDS:
            return


class _Watch:
    """An inotify of one directory, also of a directory that replaces it."""

    def __init__(self, directory: str) -> None:
        self._directory = os.fsencode(directory)
        self._is_ended = False
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._file = int(self._libc.inotify_init1(os.O_CLOEXEC))
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._number = self._arm()
        if self._number < 0:
            os.close(self._file)
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def end(self) -> None:
        """Make `wait` return false soon. Any thread may call this."""
        self._is_ended = True
        self._libc.inotify_rm_watch(self._file, self._number)  # which is an event

    def wait(self) -> bool:
        """Return after the next events: false after `end`."""
        if self._is_ended:
            os.close(self._file)
            return False
        if self._number < 0:
            time.sleep(RETRY_SECONDS)
            self._number = self._arm()
            return True
        while not self._matter(os.read(self._file, _READ_BYTES)):
            """Wait on: a receipt that was written gets its name later."""
        return True

    def _matter(self, events: bytes) -> bool:
        """Take events in. Returns true if one may change which targets there are."""
        offset, matter = 0, False
        while offset < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size + length
            name = events[offset - length : offset].rstrip(b"\0")
            matter |= mask != _IN_CLOSE_WRITE or name.endswith(_LOCK_SUFFIX)
            if mask & (_IN_MOVE_SELF | _IN_IGNORED) and self._number >= 0:
                self._libc.inotify_rm_watch(self._file, self._number)
                self._number = -1
        return matter

    def _arm(self) -> int:
        added = self._libc.inotify_add_watch(self._file, self._directory, _CHANGES)
        return int(added)
