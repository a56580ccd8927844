"""POSIX record locks: taken here, asked about as the library does."""

from __future__ import annotations

import fcntl

from resentry.locks import holder, is_held

__all__ = ["hold", "holder", "is_held"]


def hold(descriptor: int) -> bool:
    """Take the lock until the process ends or closes the file; false if it is taken."""
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
