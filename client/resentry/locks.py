"""POSIX record locks: who holds one is asked of the kernel, never guessed."""

from __future__ import annotations

import os
import struct
import sys

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux


def is_held(descriptor: int) -> bool:
    """Whether another process holds the lock. Asking never takes it.

    Closing a descriptor of a file drops every lock that this process has on it. Where
    the kernel cannot be asked every lock counts as held.
    """
    if sys.platform != "linux":
        return True
    import fcntl  # noqa: PLC0415 - not on Windows

    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
