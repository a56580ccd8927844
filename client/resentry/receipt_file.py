"""Writes the receipt of this process, and holds a lock while the process lives.

The lock is a POSIX record lock. The kernel drops it when the process ends, however it ends,
and a forked child does not inherit it. Closing any descriptor of the file would also drop
the lock, so this process opens the file once and never again.
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
"""A file without a lock belongs to nobody after this time."""


class Identity:
    """A process as a target: a random id, and its start time, since pids are reused."""

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
        """When this process began, in clock ticks since boot."""
        return start_time(self.pid)


class ReceiptFile:
    """The receipt and the lock of this process, in `directory`."""

    def __init__(self, directory: str, identity: Identity) -> None:
        self._directory = directory
        self._id = identity.id
        self._lock: Descriptor | None = None
        self._written: Receipt | None = None
        self._is_new = True

    def give(self, receipt: Receipt) -> None:
        """Replace the receipt. After an OSError, call again later.

        The agent makes the directory. A target that starts earlier waits for it.
        """
        if receipt == self._written and self._stands():
            return
        if self._is_new:  # only now: later this could drop our own lock
            _bury(self._directory)
            self._is_new = False
        self._hold()
        path = self._path(RECEIPT_SUFFIX)
        replace_file(path, encode_receipt(receipt), _MODE)
        self._written = receipt

    def withdraw(self) -> None:
        """Remove receipt and lock: this process is no longer a target."""
        for suffix in (LOCK_SUFFIX, RECEIPT_SUFFIX):  # the lock first: it is the target
            with contextlib.suppress(OSError):
                os.unlink(self._path(suffix))
        self.forget()

    def forget(self) -> None:
        """Close the lock but leave the files, which belong to the parent."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _stands(self) -> bool:
        """Whether the lock is ours and still has its name: the directory may be new."""
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
    """Remove the files of dead processes of our own user.

    So the directory stays small without an agent, too: a pool that replaces its children
    has as many new processes as dead ones. Without Linux no process is known to be dead.
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
    """Return when a process began, in clock ticks since boot; 0 without /proc.

    Pid and start time together are unique.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The command's name may have spaces and brackets: count from the last one.
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return 0


def _lock_record(descriptor: int) -> None:
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415 - not on Windows

        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
