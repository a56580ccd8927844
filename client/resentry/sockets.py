"""Keeps each connection within its process, and proves that its descriptor is still ours.

A forked child lets go of its parent's connections. Otherwise a connection that the parent
closes would stay open while the child lives, and both processes could write to it. The
child cannot use the pool to reach the connections, because a thread that does not exist in
the child may hold the pool's lock. So every socket is noted when it is made.
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
"""Every socket by its descriptor's number."""
_connections: weakref.WeakSet[_Noting] = weakref.WeakSet()


def note_connections(pool: Any) -> None:
    """Note every connection that this urllib3 pool manager makes from now on."""
    pool.pool_classes_by_scheme = {
        scheme: _noting(pool_class)
        for scheme, pool_class in pool.pool_classes_by_scheme.items()
    }


@functools.lru_cache
def _noting(pool_class: Any) -> Any:
    class Connection(_Noting, pool_class.ConnectionCls):  # type: ignore[misc]
        pass

    class Pool(pool_class):  # type: ignore[misc]
        ConnectionCls = Connection

    Pool.__name__ = pool_class.__name__  # urllib3's messages show it
    return Pool


class _Noting:
    """A urllib3 connection that notes its socket before another thread can fork."""

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
        """Send on our own socket, or on a new one, but never on a stranger's."""
        self._forget_lost()
        return super().request(*args, **kwargs)  # type: ignore[misc]

    def close(self) -> None:
        """Close our own socket, but never a stranger's."""
        self._forget_lost()
        super().close()  # type: ignore[misc]

    def _forget_lost(self) -> None:
        sock = self.sock
        if sock is not None and self._mine is not None and not self._mine.is_ours():
            self.sock = None
            sock.detach()  # not closed: the number now belongs to another file


def _let_go(_home: Home) -> None:
    """Close the parent's sockets in this child, and let their objects forget them."""
    ours = {number: socket for number, socket in _noted.items() if socket.is_ours()}
    _noted.clear()
    for connection in list(_connections):
        sock, connection.sock = connection.sock, None
        if sock is not None and (number := sock.detach()) in ours:
            ours.pop(number).close()
    # A socket during its handshake: no object that we reach has it, and a greenlet of the
    # parent may go on with it here. So the number is made to name /dev/null.
    for left in ours.values():
        with contextlib.suppress(OSError):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, left.number, inheritable=False)
            os.close(nothing)


on_renewal(_let_go)
