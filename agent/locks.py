"""POSIX record locks. The library's functions tell who holds one."""

from __future__ import annotations

import errno
import fcntl
import os

from resentry.locks import holder, is_held

__all__ = ["hold", "holder_of", "is_held"]


def hold(descriptor: int) -> bool:
    """Take the lock until the process ends or closes the file.

    Returns false if another process holds the lock.
    """
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def holder_of(directory: int, name: str) -> int | None:
    """Return the pid of the process that holds the record lock, without taking it.

    Returns 0 if the pid is not known, and `None` if nobody holds the lock. A lock that
    cannot be examined counts as held, so that the files of a live target stay.
    """
    # Without O_CREAT: with it, fs.protected_regular refuses another user's file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        # A symbolic link is no lock.
        return None if error.errno in (errno.ENOENT, errno.ELOOP) else 0
    try:
        return holder(file)
    except OSError:
        return 0
    finally:
        os.close(file)
