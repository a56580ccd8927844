"""Tells the agent what runs in this process, and by a lock that it lives.

The lock is a POSIX record lock: the kernel drops it with the process, however it
ends, and a forked child does not inherit it. It would also be dropped if this process
closed any descriptor of the file, so the file is opened once and never again.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import sys
import time
from typing import TYPE_CHECKING

from resentry import descriptor
from resentry.beside import beside, replace_file
from resentry.contract import (
    LOCK_SUFFIX,
    RECEIPT_SUFFIX,
    TARGET_ID,
    encode_receipt,
)
from resentry.locks import is_held

if TYPE_CHECKING:
    from resentry.contract import Receipt
    from resentry.descriptor import Descriptor
    from resentry.process import Home

_MODE = 0o640
_SCRAP_SECONDS = 60
"""After this time a file without its lock is nobody's any more."""


class Identity:
    """One process as a target: a random id, and what tells its pid from a reused one."""

    def __init__(self, home: Home | None = None) -> None:
        self.id = home.id if home is not None else secrets.token_hex(8)
        self.parent = home.parent if home is not None else None
        self.pid = os.getpid()

    @functools.cached_property
    def pidns(self) -> int:
        """The PID namespace of this process; 0 where there is no /proc."""
        try:
            return os.stat("/proc/self/ns/pid").st_ino
        except OSError:
            return 0

    @functools.cached_property
    def start_time(self) -> int:
        """When this process began: see the function."""
        return start_time(self.pid)


class ReceiptFile:
    """The process's receipt in `directory`, held by a lock while the process lives."""

    def __init__(self, directory: str, identity: Identity) -> None:
        self._directory = directory
        self._id = identity.id
        self._lock: Descriptor | None = None
        self._written: Receipt | None = None
        self._is_new = True

    def give(self, receipt: Receipt) -> None:
        """Replace the receipt. Raises OSError where that can't be: call again.

        The agent makes the directory; a target that is earlier waits for it.
        """
        if receipt == self._written and self._stands():
            return
        if self._is_new:  # before there is a lock of ours that could be dropped
            _bury(self._directory)
            self._is_new = False
        self._hold()
        path = self._path(RECEIPT_SUFFIX)
        replace_file(path, encode_receipt(receipt), _MODE)
        self._written = receipt

    def withdraw(self) -> None:
        """Remove receipt and lock: this process is a target no more."""
        for suffix in (LOCK_SUFFIX, RECEIPT_SUFFIX):  # no lock, no target
            with contextlib.suppress(OSError):
                os.unlink(self._path(suffix))
        self.forget()

    def forget(self) -> None:
        """Close what this process holds, leaving the files: they are the parent's."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stands(self) -> bool:
        """Whether the lock is ours, and has its name: the directory may be a new one."""
        if self._lock is None or not self._lock.is_ours():
            return False
        try:
            named = os.stat(self._path(LOCK_SUFFIX))
            return os.path.samestat(named, os.fstat(self._lock.number))
        except OSError:
            return False

    def _hold(self) -> None:
        if self._stands():
            return
        self.forget()
        # Locked before it has its name: else the agent could take us for dead.
        lock = None
        try:
            with beside(self._path(LOCK_SUFFIX)) as temporary:
                lock = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, _MODE)
                os.chmod(temporary, _MODE)  # the umask must not decide
                _lock_record(lock)
        except OSError:
            if lock is not None:
                os.close(lock)
            raise
        self._lock = descriptor.of_file(lock)

    def _path(self, suffix: str) -> str:
        return f"{self._directory}/{self._id}{suffix}"


def _bury(directory: str) -> None:
    """Remove what dead processes of our own user have left.

    A pool that replaces its children has as many newcomers as dead ones, so that the
    directory does not grow, also without an agent. Where the kernel cannot be asked
    nobody is known to be dead.
    """
    if sys.platform != "linux":
        return
    dead: dict[str, bool] = {}
    for name in sorted(os.listdir(directory)):
        target, path = name.partition(".")[0], f"{directory}/{name}"
        if not TARGET_ID.match(target):
            continue
        with contextlib.suppress(OSError):
            if target not in dead:
                dead[target] = _is_dead(f"{directory}/{target}{LOCK_SUFFIX}", path)
            if dead[target] and os.lstat(path).st_uid == os.geteuid():
                os.unlink(path)


def _is_dead(lock: str, scrap: str) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return os.lstat(scrap).st_mtime < time.time() - _SCRAP_SECONDS
    try:
        return not is_held(descriptor)
    finally:
        os.close(descriptor)


def start_time(pid: int) -> int:
    """When the process began, in clock ticks since boot: with the pid it is unique.

    0 where the platform has no /proc.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name may hold spaces and brackets: count behind the last.
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def _lock_record(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
