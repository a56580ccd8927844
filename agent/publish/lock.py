"""The lock of the volume: one agent at a time may publish there."""

from __future__ import annotations

import contextlib
import os

from agent.errors import PublishError, VolumeBusy
from agent.locks import hold, is_held

WAITING = ".waiting"
"""The file that an agent locks while it waits for another one has this at its end."""


class Lock:
    """The record lock on one file. It ends with the process."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._handle: int | None = None
        self._locked: os.stat_result | None = None
        """The status of the locked file."""
        self._waiting: int | None = None

    def take(self) -> bool:
        """Take the lock, or raise `VolumeBusy`. Returns false if it was taken before.

        A file that was removed or replaced is locked anew: another agent would lock that
        file, too.
        """
        if self.is_held():
            return False
        self.release()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not hold(handle):
            os.close(handle)
            self._show_waiting()
            raise VolumeBusy(
                f"another agent has the volume: it holds the lock {self._path}",
                "give each pod a volume of its own, or stop the other agent",
            )
        self._handle, self._locked = handle, os.fstat(handle)
        self._end_waiting()
        return True

    def _show_waiting(self) -> None:
        """Let `has_rival` find this agent, which waits for the end of another one."""
        if self._waiting is None:
            with contextlib.suppress(OSError):
                path = self._path + WAITING
                self._waiting = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                hold(self._waiting)

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            os.close(self._waiting)
            self._waiting = None

    def has_rival(self) -> bool | None:
        """Whether another agent waits for this volume; `None` if that cannot be known."""
        path = self._path + WAITING
        return _is_held(path) if os.path.lexists(path) else False

    def release(self) -> None:
        """Give the lock back, so that another agent can take it."""
        self._end_waiting()
        if self._handle is not None:
            os.close(self._handle)
            self._handle = self._locked = None

    def is_held_elsewhere(self) -> bool | None:
        """Whether another process holds the lock; `None` if that cannot be known."""
        return _is_held(self._path)

    def must_be_held(self) -> None:
        """Raise `PublishError` if this process does not hold the lock."""
        if not self.is_held():
            raise PublishError(
                f"this agent does not have the volume now: it lacks the lock {self._path}",
                "the next pass tries to take the lock",
            )

    def is_held(self) -> bool:
        """Whether this process holds the lock on the file that has the name now."""
        if self._locked is None:
            return False
        try:
            return os.path.samestat(os.stat(self._path), self._locked)
        except OSError:
            return False


def _is_held(path: str) -> bool | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return is_held(handle)
    finally:
        os.close(handle)
