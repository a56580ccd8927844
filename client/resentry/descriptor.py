"""A descriptor's number may become somebody else's: prove it before each use.

An application may close every number that it did not open (a daemon does), and the next
file gets one of ours. Whoever then reads or closes "its" number takes bytes from a
stranger. Device and inode tell pipes, sockets and files apart, but are the same for every
inotify and signalfd: there /proc/self/fdinfo tells.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

FDINFO = "/proc/self/fdinfo"


class Descriptor(NamedTuple):
    """A number, and the question whether it is still ours."""

    number: int
    is_ours: Callable[[], bool]

    def close(self) -> None:
        """Close the number, if it is still ours."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                os.close(self.number)


def of_file(number: int) -> Descriptor:
    """Know a pipe, socket or regular file again. Raises OSError if it is closed."""
    stamp = _stamp(number)

    def is_ours() -> bool:
        try:
            return _stamp(number) == stamp
        except OSError:
            return False

    return Descriptor(number, is_ours)


def of_kernel(number: int, line: bytes) -> Descriptor:
    """Know an inotify or a signalfd again: only ours has this line in its fdinfo."""

    def is_ours() -> bool:
        try:
            # Without a file object, which takes twice as long: a forked child does
            # this before its first own line.
            file = os.open(f"{FDINFO}/{number}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return line in os.read(file, 4096)
        except OSError:
            return False
        finally:
            os.close(file)

    return Descriptor(number, is_ours)


def _stamp(number: int) -> tuple[int, int]:
    found = os.fstat(number)
    return found.st_dev, found.st_ino
