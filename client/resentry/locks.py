"""POSIX record locks: who holds one is asked of the kernel, never guessed."""

from __future__ import annotations

import os
import struct
import sys

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux


def holder(descriptor: int) -> int | None:
    """Return the process that holds the lock; `None` if no other process does.

    0 where the kernel does not say which one: it is in another PID namespace. Asking
    never takes the lock. Closing a descriptor of a file drops every lock that this
    process has on it. Where the kernel cannot be asked every lock counts as held.
    """
    if sys.platform != "linux":
        return 0
    import fcntl  # noqa: PLC0415 - not on Windows

    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    return None if answer[0] == fcntl.F_UNLCK else max(0, answer[4])


def is_held(descriptor: int) -> bool:
    """Whether another process holds the lock."""
    return holder(descriptor) is not None
