"""POSIX record locks: who holds one, and whether that process is stopped."""

from __future__ import annotations

import errno
import fcntl
import os

from resentry.locks import holder, is_held

__all__ = ["hold", "holder_of", "is_held", "is_stopped", "stopped_holder"]


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


def stopped_holder(directory: str, name: str) -> int:
    """Return the pid of the stopped process that holds the record lock; else 0.

    This process must not hold the lock: it would lose it.
    """
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        pid = holder_of(folder, name)
    finally:
        os.close(folder)
    return pid if pid and is_stopped(pid) else 0


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process; false if that cannot be seen."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["T"]
