"""A forked child lets go of its parent's connections: what it inherits is not its own.

Else a connection that the parent closes stays open for as long as the child lives, and
a mistake could put two processes' bytes on one of them. The child cannot reach each of
them through its pool, whose lock may belong to a thread that does not exist there: so
every socket is noted when it is made.
"""

from __future__ import annotations

import functools
import os
import threading
from typing import Any

FORK_WAIT_SECONDS = 0.1
"""So long a fork waits for a connection that is being made; usually one takes less."""

_HAS_FORK = hasattr(os, "register_at_fork")

_noted: dict[int, int] = {}
"""Descriptor and inode of every socket; what is closed differs in its inode, or fails."""

_changed = threading.Condition(threading.RLock())
_connecting = 0


def note_connections(pool: Any) -> None:
    """Have every connection of a urllib3 pool manager noted, from now on."""
    if _HAS_FORK:
        pool.pool_classes_by_scheme = {
            scheme: _noting(pool_class)
            for scheme, pool_class in pool.pool_classes_by_scheme.items()
        }


@functools.lru_cache
def _noting(pool_class: Any) -> Any:
    connection = type("Noting", (_Noting, pool_class.ConnectionCls), {})
    return type(pool_class.__name__, (pool_class,), {"ConnectionCls": connection})


class _Noting:
    """A urllib3 connection whose socket is noted before another thread can fork."""

    def _new_conn(self) -> Any:
        global _connecting  # noqa: PLW0603 - one count per process, as forks are
        with _changed:
            _connecting += 1
        try:
            made = super()._new_conn()  # type: ignore[misc]
            descriptor = made.fileno()  # TLS keeps the number
            _noted[descriptor] = os.fstat(descriptor).st_ino
            return made
        finally:
            with _changed:
                _connecting -= 1
                _changed.notify_all()


def _before_fork() -> None:
    _changed.acquire()
    _changed.wait_for(lambda: not _connecting, FORK_WAIT_SECONDS)


def _after_fork_in_parent() -> None:
    _changed.release()


def _after_fork_in_child() -> None:
    global _changed, _connecting
    _changed, _connecting = threading.Condition(threading.RLock()), 0
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor, inode in _noted.items():
        try:
            if os.fstat(descriptor).st_ino == inode:
                # Not closed: an object here still has the number, and would one day
                # close whatever got it next.
                os.dup2(nothing, descriptor, inheritable=False)
        except OSError:  # closed long ago
            continue
    os.close(nothing)
    _noted.clear()


if _HAS_FORK:
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
