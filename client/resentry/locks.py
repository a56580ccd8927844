"""POSIX record locks: the kernel says which process holds a lock."""

from __future__ import annotations

import os
import struct
import sys

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux


def holder(descriptor: int) -> int | None:
    """Return the pid of the process that holds the lock; `None` if no other process does.

    Returns 0 if that process is in another PID namespace, and always 0 outside Linux, where
    every lock counts as held. Asking never takes the lock. But closing a descriptor of a
    file drops every lock that this process has on the file.
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
