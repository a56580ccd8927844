"""Connections belong to one process, and their numbers may become somebody else's.

A forked child lets go of its parent's connections. Else one that the parent closes stays
open for as long as the child lives, and a mistake could put two processes' bytes on it.
The child cannot reach each of them through its pool, whose lock may belong to a thread
that does not exist there: so every socket is noted when it is made.
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from typing import TYPE_CHECKING, Any

from resentry import descriptor
from resentry.process import here, on_renewal

if TYPE_CHECKING:
    from resentry.descriptor import Descriptor
    from resentry.process import Home

_noted: dict[int, Descriptor] = {}
"""Every socket by its number."""
_connections: weakref.WeakSet[_Noting] = weakref.WeakSet()


def note_connections(pool: Any) -> None:
    """Have every connection of a urllib3 pool manager noted, from now on."""
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

    sock: Any
    _mine: Descriptor | None = None

    def _new_conn(self) -> Any:
        home = here()
        with home.connecting:
            home.connections += 1
        try:
            made = super()._new_conn()  # type: ignore[misc]
            number = made.fileno()  # TLS keeps the number
            _noted[number] = self._mine = descriptor.of_file(number)
            _connections.add(self)
            return made
        finally:
            with home.connecting:
                home.connections -= 1
                home.connecting.notify_all()

    def request(self, *args: Any, **kwargs: Any) -> Any:
        """Send on our own socket, or on a new one: never on somebody else's."""
        self._forget_lost()
        return super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        """Close our own socket: never somebody else's."""
        self._forget_lost()
        super().close()  # type: ignore[misc]

    def _forget_lost(self) -> None:
        sock = self.sock
        if sock is not None and self._mine is not None and not self._mine.is_ours():
            self.sock = None
            sock.detach()  # not closed: the number is another file's


def _let_go(_home: Home) -> None:
    """Close the parent's sockets here; the objects that have them forget their numbers."""
    ours = {number: one for number, one in _noted.items() if one.is_ours()}
    _noted.clear()
    for connection in list(_connections):
        sock, connection.sock = connection.sock, None
        if sock is not None and (number := sock.detach()) in ours:
            ours.pop(number).close()
    # A socket in the middle of its handshake: no object that we reach has it, and a
    # greenlet of the parent may go on with it here. It finds that it is no socket.
    for one in ours.values():
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, one.number, inheritable=False)
            os.close(nothing)


on_renewal(_let_go)
