"""An application's own descriptors, at numbers that were the library's."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import itertools
import os
import select
import signal
import socket
import struct
import tempfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

ABOVE = 300
"""From here on the second number of each descriptor: nobody closes it."""
WORDS = b"the application's own words"
COUNT = 7
_IN_CREATE = 0x100

_libc = ctypes.CDLL(None, use_errno=True)
_marks = itertools.count(signal.SIGRTMIN + 1)


class Foreign:
    """One descriptor of the application's: at `number`, and at a second one above."""

    def __init__(self, number: int, kind: str) -> None:
        self.kind, self.number = kind, number
        made, self._peer = getattr(self, f"_{kind}")()
        self._twin = fcntl.fcntl(made, fcntl.F_DUPFD_CLOEXEC, ABOVE)
        if made != number:
            os.close(made)
        os.dup2(self._twin, number)
        # A value that belongs to the open file: whatever else gets the number has 0.
        self._mark = next(_marks) % 25 + 36
        fcntl.fcntl(self._twin, fcntl.F_SETSIG, self._mark)

    def wrong(self, *, read: bool = False) -> str:
        """Say what was done to it; empty if nothing. `read` takes what it holds."""
        try:
            if fcntl.fcntl(self.number, fcntl.F_GETSIG) != self._mark:
                return f"{self.kind} {self.number} was replaced"
        except OSError:
            return f"{self.kind} {self.number} was closed"
        why = getattr(self, f"_check_{self.kind}")() if read else ""
        return f"{self.kind} {self.number} {why}" if why else ""

    def _above(self, descriptor: int) -> int:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE)
        os.close(descriptor)
        return moved

    def _read(self) -> bytes:
        os.set_blocking(self._twin, False)
        with contextlib.suppress(BlockingIOError):
            return os.read(self._twin, 65536)
        return b""

    # eventfd

    def _eventfd(self) -> tuple[int, Any]:
        return _libc.eventfd(COUNT, os.O_NONBLOCK), None

    def _check_eventfd(self) -> str:
        found = self._read()
        right = struct.pack("Q", COUNT)
        return "" if found == right else f"holds {found!r}"

    # inotify, of the volume itself

    def _inotify(self) -> tuple[int, Any]:
        made, directory = _libc.inotify_init1(os.O_NONBLOCK), os.environ["RESENTRY_DIR"]
        _libc.inotify_add_watch(made, os.fsencode(directory), _IN_CREATE)
        name = f"{directory}/for-{made}"
        with open(name, "wb"):
            return made, os.path.basename(name).encode()

    def _check_inotify(self) -> str:
        return "" if self._peer in self._read() else "lost its events"

    # epoll

    def _epoll(self) -> tuple[int, Any]:
        epoll, (end, other) = select.epoll(), os.pipe()
        end, self._other = self._above(end), self._above(other)
        os.write(self._other, WORDS)
        epoll.register(end, select.EPOLLIN)
        made = os.dup(epoll.fileno())
        epoll.close()
        return made, end

    def _check_epoll(self) -> str:
        found = select.epoll.fromfd(os.dup(self._twin)).poll(0)
        return "" if found == [(self._peer, select.EPOLLIN)] else f"gives {found}"

    # signalfd

    def _signalfd(self) -> tuple[int, Any]:
        mask = ctypes.create_string_buffer(128)
        _libc.sigaddset(mask, signal.SIGUSR2)
        return _libc.signalfd(-1, mask, os.O_NONBLOCK), None

    def _check_signalfd(self) -> str:
        return ""

    # A pipe's reading end

    def _pipe(self) -> tuple[int, Any]:
        end, other = os.pipe()
        other = self._above(other)
        os.write(other, WORDS)
        return end, other

    def _check_pipe(self) -> str:
        found = self._read()
        return "" if found == WORDS else f"holds {found!r}"

    # A socket, of which the peer has spoken

    def _socket(self) -> tuple[int, Any]:
        mine, peer = socket.socketpair()
        other = self._above(peer.detach())
        os.write(other, WORDS)
        return mine.detach(), other

    def _check_socket(self) -> str:
        if (found := self._read()) != WORDS:
            return f"holds {found!r}"
        os.set_blocking(self._peer, False)
        try:
            return f"was written: {os.read(self._peer, 99)!r}"
        except BlockingIOError:
            return ""

    # A file, with a position

    def _file(self) -> tuple[int, Any]:
        made, path = tempfile.mkstemp()
        os.unlink(path)
        os.write(made, WORDS)
        os.lseek(made, len(WORDS) - 5, os.SEEK_SET)
        return made, None

    def _check_file(self) -> str:
        rest = self._read()
        whole = os.pread(self._twin, 999, 0)
        return "" if (rest, whole) == (WORDS[-5:], WORDS) else f"holds {whole!r}"


KINDS = ("eventfd", "inotify", "epoll", "signalfd", "pipe", "socket", "file")


def numbers() -> set[int]:
    """Return the numbers of all descriptors below `ABOVE`."""
    found = {int(name) for name in os.listdir("/proc/self/fd")}
    return {number for number in found if number < ABOVE and is_open(number)}


def is_open(number: int) -> bool:
    """Whether the number stands for a descriptor: the listing's own does not any more."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def kind_of(number: int) -> str:
    """Return which kind of descriptor it is, as `Foreign` names them."""
    link = os.readlink(f"/proc/self/fd/{number}")
    for kind in ("eventfd", "inotify", "eventpoll", "signalfd", "pipe", "socket"):
        if kind in link.partition("/")[0]:
            return kind.replace("eventpoll", "epoll")
    return "file"


def wrong(all_of_them: Iterable[Foreign], *, read: bool = False) -> list[str]:
    """Return what was done to any of them."""
    return list(filter(None, (one.wrong(read=read) for one in all_of_them)))
