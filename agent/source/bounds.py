"""Connections to Vault whose answers are bounded, whatever the other end does.

Time-outs alone do not bound an answer that comes a byte at a time: so before each read
the socket asks how long it may still wait.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_SECONDS = 3.0
"""For each address of the host, and again for the TLS handshake."""
READ_SECONDS = 10.0
"""For the next byte."""
ANSWER_SECONDS = 15.0
"""For one answer as a whole."""
ANSWER_LIMIT_BYTES = 2 * 1024 * 1024


class Bounds:
    """What the answer under way may still take. Another thread can cut it."""

    def __init__(self) -> None:
        self.until = float("inf")
        """The monotonic time at which the pass has to end."""
        self.is_cut = False
        self.received = 0
        self.reading: socket.socket | None = None
        self._answer_by = float("inf")

    def begin(self) -> None:
        """Another answer is awaited."""
        self.received = 0
        self._answer_by = time.monotonic() + ANSWER_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether the pass has had its time, or was cut off."""
        return self.is_cut or time.monotonic() >= self.until

    @property
    def is_over_time(self) -> bool:
        """Whether the last answer was still not whole after `ANSWER_SECONDS`."""
        return time.monotonic() >= self._answer_by

    def left(self) -> float:
        """How long the next read may wait; `OSError` if nothing may be read any more."""
        if self.is_over or self.is_over_time:
            raise TimeoutError("the answer is over time")
        if self.received > 2 * ANSWER_LIMIT_BYTES:  # in what is not its body
            raise OSError("the answer is too large")
        return min(self._end() - time.monotonic(), READ_SECONDS)

    def to_connect(self) -> float:
        """How long connecting may take; never quite 0, which would mean no waiting."""
        return max(min(self._end() - time.monotonic(), CONNECT_SECONDS), 0.001)

    def _end(self) -> float:
        return min(self._answer_by, self.until)

    def cut(self) -> None:
        """Fail the read under way, and every later one."""
        self.is_cut = True
        if self.reading is not None:
            with contextlib.suppress(OSError):
                # A TLS socket's own shutdown would pull the rug from under a reader.
                socket.socket.shutdown(self.reading, socket.SHUT_RDWR)


class _Bounded:
    """Mixed into sockets: no read waits longer than it may."""

    bounds: Bounds

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.bounds.reading = self  # type: ignore[assignment]
        self.settimeout(self.bounds.left())  # type: ignore[attr-defined]
        received = super().recv_into(*args, **kwargs)  # type: ignore[misc]
        self.bounds.received += received
        return int(received)


class _Socket(_Bounded, socket.socket):
    """A connection without TLS, or below it."""


class _Connects:
    """Mixed into urllib3's connections: they are made of bounded sockets."""

    bounds: Bounds
    path: str

    def _new_conn(self) -> socket.socket:
        if self.path:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(self.bounds.to_connect())
            made.connect(self.path)
        else:
            self.timeout = self.bounds.to_connect()
            made = super()._new_conn()  # type: ignore[misc]
        bounded = _Socket(fileno=made.detach())
        bounded.bounds = self.bounds
        bounded.settimeout(self.bounds.to_connect())
        return bounded


class BoundedAdapter(HTTPAdapter):
    """Connects as its arguments say, whatever requests would make of `verify`.

    With a `path` to that Unix socket, wherever the URL points to.
    """

    def __init__(
        self,
        bounds: Bounds,
        path: str = "",
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        own = {"bounds": bounds, "path": path}
        self._pools = {
            "http": _pool(HTTPConnectionPool, HTTPConnection, own),
            "https": _pool(HTTPSConnectionPool, HTTPSConnection, own),
        }
        self._tls: dict[str, Any] = {}
        if context is not None:
            kind = type("TlsSocket", (_Bounded, ssl.SSLSocket), {"bounds": bounds})
            context.sslsocket_class = kind
            self._tls = {"ssl_context": context, "cert_reqs": context.verify_mode}
            if server_name:
                self._tls["server_hostname"] = server_name
        # Two hosts, for one may redirect to the other; of each one connection.
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def build_connection_pool_key_attributes(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Return which host, and what of TLS, tells one connection from another."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, dict(self._tls)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return what connects through that proxy: bounded, too."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave the pool alone: its context has all that is trusted."""


def _pool(pool: type, connection: type, own: dict[str, Any]) -> type:
    """Return a kind of pool whose connections are made of bounded sockets."""
    line = type("Connection", (_Connects, connection), own)
    return type("Pool", (pool,), {"ConnectionCls": line})
