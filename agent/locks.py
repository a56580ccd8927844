"""POSIX record locks. The library's functions tell who holds one."""

from __future__ import annotations

import fcntl

from resentry.locks import holder, is_held

__all__ = ["hold", "holder", "is_held"]


def hold(descriptor: int) -> bool:
    """Take the lock until the process ends or closes the file.

    Returns false if another process holds the lock.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
