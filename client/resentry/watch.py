"""Wakes a target's thread when the volume changes, a signal comes, or time is over."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import struct
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from resentry import clock, descriptor
from resentry.contract import DATA_LINK
from resentry.process import block, has_green_threads

if TYPE_CHECKING:
    from resentry.descriptor import Descriptor

_IN_ATTRIB = 0x4
_IN_CLOSE_WRITE = 0x8
_IN_MOVED_TO = 0x80
_IN_CREATE = 0x100
_IN_IGNORED = 0x8000
_CHANGES = _IN_MOVED_TO | _IN_CLOSE_WRITE | _IN_CREATE
_EVENT = struct.Struct("iIII")
_SIGSET_BYTES = 128
_SWITCH = DATA_LINK.encode()
"""The only hidden name that matters: the agent renames it to publish."""


class LostError(Exception):
    """A descriptor is no longer ours: the application has closed or replaced it."""


class Watch(Protocol):
    """Wakes a target's thread early. The thread itself makes its watch."""

    @property
    def kind(self) -> str:
        """How a change is noticed: `inotify`, or `stat` each second."""

    @property
    def signal(self) -> int | None:
        """The signal that ends a `wait`, or `None`."""

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or at once if there is a reason to look.

        After a `LostError`, close this watch and open another.
        """

    def wake(self) -> None:
        """End the current `wait`."""

    def close(self) -> None:
        """Close the descriptors that are still ours."""


class _Poll:
    """Polls a pipe, an inotify of one directory, and a signalfd. Starts no thread.

    It watches the directory, because a watch of a file is lost when a rename replaces the
    file. If the node has no inotify left, or there is no directory yet, each `wait` tries
    again. Until then only time and `wake` end a `wait`.
    """

    def __init__(self, directory: str, number: int | None) -> None:
        self._directory = os.fsencode(directory)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._is_watching = False
        self._inotify: Descriptor | None = None
        self._signals: Descriptor | None = None
        self.signal: int | None = None
        self._poll = select.poll()
        read, write = os.pipe()
        self._pipe = descriptor.of_file(read)
        self._wake = descriptor.of_file(write)
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        self._poll.register(read, select.POLLIN)
        if number is not None and not has_green_threads():
            self._take(number)
        self._arm()

    @property
    def kind(self) -> str:
        return "inotify" if self._is_watching else "stat"

    def _take(self, number: int) -> None:
        """Block the signal in this thread, so that only `wait` reads it."""
        block(number)
        bits = 1 << (number - 1)
        mask = bits.to_bytes(_SIGSET_BYTES, "little")
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        opened = int(self._libc.signalfd(-1, mask, flags))
        if opened < 0:
            return
        self._signals = descriptor.of_kernel(opened, b"sigmask:\t%016x\n" % bits)
        self._poll.register(opened, select.POLLIN)
        self.signal = number

    def _arm(self) -> bool:
        """Watch the directory; return whether that worked."""
        if self._inotify is None:
            self._open_inotify()
        if self._inotify is not None:
            number = self._inotify.number
            added = self._libc.inotify_add_watch(number, self._directory, _CHANGES)
            self._is_watching = added >= 0
        return self._is_watching

    def _open_inotify(self) -> None:
        opened = int(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        if opened < 0:
            return
        # Two inotifys look alike. A watch of our own pipe makes this one different.
        own = f"/proc/self/fd/{self._pipe.number}".encode()
        if self._libc.inotify_add_watch(opened, own, _IN_ATTRIB) < 0:
            os.close(opened)
            return
        inode = os.fstat(self._pipe.number).st_ino
        self._inotify = descriptor.of_kernel(opened, b" ino:%x " % inode)
        self._poll.register(opened, select.POLLIN)

    def wait(self, seconds: float) -> None:
        self._prove()
        if not self._is_watching and self._arm():
            return  # the next look sees what changed before the watch was there
        deadline = clock.monotonic() + seconds
        while not self._has_reason(max(0.0, deadline - clock.monotonic())):
            pass

    def _has_reason(self, seconds: float) -> bool:
        """Return true when there is a reason to look, or after `seconds`."""
        ready = self._poll.poll(seconds * 1000)
        if ready:
            self._prove()
        reasons = not ready
        for number, _ in ready:
            is_inotify = self._inotify is not None and number == self._inotify.number
            try:
                read = os.read(number, 65536)
            except BlockingIOError:
                reasons = True
            else:
                reasons |= not is_inotify or self._concerns(read)
        return reasons

    def _prove(self) -> None:
        for opened in (self._pipe, self._wake, self._inotify, self._signals):
            if opened is not None and not opened.is_ours():
                raise LostError

    def _concerns(self, events: bytes) -> bool:
        """Whether one of these events is more than a step before the agent's switch.

        A publication makes hidden names before it renames `..data`. All processes of a pod
        would look for nothing while the agent still writes.
        """
        offset, concerns = 0, False
        while offset < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, offset)
            offset += _EVENT.size
            name = events[offset : offset + length].rstrip(b"\0")
            offset += length
            if mask & _IN_IGNORED:  # the directory itself is gone
                self._is_watching = False
            concerns |= not name.startswith(b"..") or name == _SWITCH
        return concerns

    def wake(self) -> None:
        if self._wake.is_ours():
            with contextlib.suppress(OSError):  # full: it will wake up anyway
                os.write(self._wake.number, b".")

    def close(self) -> None:
        for opened in (self._signals, self._inotify, self._wake, self._pipe):
            if opened is not None:
                opened.close()


class _Clock:
    """A watch without inotify: only time and `wake` end a `wait`."""

    kind = "stat"
    signal = None

    def __init__(self) -> None:
        self._event = threading.Event()

    def wait(self, seconds: float) -> None:
        self._event.wait(seconds)
        self._event.clear()

    def wake(self) -> None:
        self._event.set()

    def close(self) -> None:
        pass


def open_watch(directory: str, number: int | None) -> Watch:
    """Return the best watch that works here; `number` is the signal to take.

    Without /proc nothing can prove that a descriptor is still ours, so none is used.
    """
    usable = sys.platform == "linux" and hasattr(select, "poll")  # eventlet has none
    if usable and os.path.isdir(descriptor.FDINFO):
        with contextlib.suppress(
            OSError, AttributeError
        ):  # no descriptor left; no libc
            return _Poll(directory, number)
    return _Clock()
