"""Proves before each use that a file descriptor is still ours.

An application may close every descriptor that it did not open, as a daemon does. The next
file that it opens may get the number of one of ours. Reading or closing that number would
then hit a file of the application's. Device and inode identify a pipe, a socket or a file.
Every inotify and signalfd has the same device and inode; /proc/self/fdinfo identifies them.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

FDINFO = "/proc/self/fdinfo"


class Descriptor(NamedTuple):
    """A descriptor's number, and a check whether it is still ours."""

    number: int
    is_ours: Callable[[], bool]

    def close(self) -> None:
        """Close the number, if it is still ours."""
        if self.is_ours():
            with contextlib.suppress(OSError):
                os.close(self.number)


def of_file(number: int) -> Descriptor:
    """Return the descriptor of a pipe, socket or file. Raises OSError if it is closed."""
    stamp = _stamp(number)

    def is_ours() -> bool:
        try:
            return _stamp(number) == stamp
        except OSError:
            return False

    return Descriptor(number, is_ours)


def of_kernel(number: int, line: bytes) -> Descriptor:
    """Return the descriptor of an inotify or signalfd; only ours has `line` in its fdinfo."""

    def is_ours() -> bool:
        try:
            # A file object would take twice as long, and a forked child does this first.
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
    file = os.fstat(number)
    return file.st_dev, file.st_ino
