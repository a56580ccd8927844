"""When a target looks at the volume: a change, a signal, or a second gone by."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import threading
from typing import Protocol

_IN_CLOSE_WRITE = 0x8
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")


class Watch(Protocol):
    """Something that wakes a target's thread early."""

    @property
    def kind(self) -> str:
        """What shows a change: `inotify`, or `stat` each second."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or at once when there is reason to look."""

    def wake(self) -> None:
        """End the current `wait`. Safe in a signal handler."""

    def close(self) -> None:
        """Give the descriptors back."""


class _Inotify:
    """Raw inotify of one directory: one descriptor, no thread of its own.

    The directory is watched, not the file: a file replaced by rename leaves its
    watch behind. Where no watch can be had (none left on the node, directory not
    there yet) each `wait` tries again, and time and `wake` serve meanwhile.
    """

    def __init__(self, directory: str) -> None:
        self._directory = os.fsencode(directory)
        self._libc = ctypes.CDLL(None, use_errno=True)
        # First: it may raise, and the other descriptor would be left open.
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._inotify = int(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._watching = False
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        if self._inotify >= 0:
            self._poll.register(self._inotify, select.POLLIN)

    @property
    def kind(self) -> str:
        return "inotify" if self._watching else "stat"

    def wait(self, seconds: float) -> None:
        if self._inotify >= 0 and not self._watching:
            mask = _IN_MOVED_TO | _IN_CLOSE_WRITE | _IN_CREATE
            added = self._libc.inotify_add_watch(self._inotify, self._directory, mask)
            if added >= 0:
                # What changed before the watch was there is seen by the next look.
                self._watching = True
                return
        for descriptor, _ in self._poll.poll(seconds * 1000):
            if descriptor == self._wake:
                os.eventfd_read(self._wake)
            else:
                self._read_events()

    def _read_events(self) -> None:
        events, at = os.read(self._inotify, 65536), 0
        while at < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, at)
            if mask & _IN_IGNORED:  # the directory itself is gone
                self._watching = False
            at += _EVENT.size + length

    def wake(self) -> None:
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        os.close(self._wake)
        if self._inotify >= 0:
            os.close(self._inotify)


class _Clock:
    """Where there is no inotify: time alone, and `wake`."""

    kind = "stat"

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)
        self._event.clear()

    def wake(self) -> None:
        self._event.set()

    def close(self) -> None:
        pass


def watch(directory: str) -> Watch:
    """Return the best watch that this platform has."""
    if sys.platform == "linux":
        try:
            return _Inotify(directory)
        except (OSError, AttributeError):  # no descriptor left; a libc without it
            pass
    return _Clock()
