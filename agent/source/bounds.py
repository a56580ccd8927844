"""Connections to Vault whose answers have a limit in time and size.

A time-out alone does not limit an answer that comes a byte at a time. So before each
read, the socket asks how long it may still wait.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONNECT_SECONDS = 3.0
"""The limit for connecting to each address, and again for the TLS handshake."""
READ_SECONDS = 10.0
"""The limit for the next byte."""
ANSWER_SECONDS = 15.0
"""The limit for one whole answer."""
ANSWER_LIMIT_BYTES = 2 * 1024 * 1024
HEAD_LIMIT_BYTES = 64 * 1024
"""The limit of status line and headers, with all interim answers before them."""
INTERIM_LIMIT = 20
"""The number of interim answers (102, 103) before the answer."""


class Bounds:
    """The limits of the answer that is being read. Another thread can cut it."""

    def __init__(self) -> None:
        self.until = float("inf")
        """The deadline of the pass, as a monotonic time."""
        self.is_cut = False
        self.received = 0
        self.reading: socket.socket | None = None
        self._answer_by = float("inf")
        self._limit = HEAD_LIMIT_BYTES

    def begin(self) -> None:
        """Start the limits of the next answer."""
        self.received = 0
        self._limit = HEAD_LIMIT_BYTES
        self._answer_by = time.monotonic() + ANSWER_SECONDS

    def begin_body(self) -> None:
        """Allow what a body may need, the sizes of its chunks included."""
        self._limit = 2 * ANSWER_LIMIT_BYTES

    @property
    def is_over(self) -> bool:
        """Whether the deadline of the pass is over, or the pass was cut."""
        return self.is_cut or time.monotonic() >= self.until

    @property
    def is_over_time(self) -> bool:
        """Whether the last answer was not complete within `ANSWER_SECONDS`."""
        return time.monotonic() >= self._answer_by

    def seconds_to_read(self) -> float:
        """Return how long the next read may wait.

        Raises `OSError` if nothing may be read any more.
        """
        if self.is_over or self.is_over_time:
            raise TimeoutError("the answer is over time")
        if self.received > self._limit:
            raise OSError(errno.EMSGSIZE, "the answer is too large")
        return min(self._end() - time.monotonic(), READ_SECONDS)

    def seconds_to_connect(self) -> float:
        """Return how long connecting may take; never 0, which would mean no time-out."""
        return max(min(self._end() - time.monotonic(), CONNECT_SECONDS), 0.001)

    def _end(self) -> float:
        return min(self._answer_by, self.until)

    def cut(self) -> None:
        """Make the read that is running fail, and every later read."""
        self.is_cut = True
        if self.reading is not None:
            with contextlib.suppress(OSError):
                # Not the TLS socket's own shutdown, which breaks a running read.
                socket.socket.shutdown(self.reading, socket.SHUT_RDWR)


class _PlainSocket(socket.socket):
    """A connection without TLS. No read waits longer than the bounds allow."""

    bounds: Bounds

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.bounds.reading = self
        self.settimeout(self.bounds.seconds_to_read())
        received = super().recv_into(*args, **kwargs)
        self.bounds.received += received
        return received


class _TlsSocket(ssl.SSLSocket):
    """A connection with TLS, made by a `BoundedContext`."""

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        bounds = self._bounds()
        received = super().recv_into(*args, **kwargs)
        bounds.received += received
        return received

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        """As urllib3 reads within the TLS of a proxy."""
        bounds = self._bounds()
        received = super().recv(*args, **kwargs)
        bounds.received += len(received)
        return received

    def _bounds(self) -> Bounds:
        bounds = cast("BoundedContext", self.context).bounds
        bounds.reading = self
        self.settimeout(bounds.seconds_to_read())
        return bounds


class BoundedContext(ssl.SSLContext):
    """A TLS context whose connections keep to its `bounds`."""

    bounds: Bounds
    sslsocket_class = _TlsSocket


class Response(http.client.HTTPResponse):
    """An answer. http.client itself skips only 100 before it, not 102 or 103."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(INTERIM_LIMIT):
            line: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if not 102 <= line[1] < 200:
                return line
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("too many interim answers")


class _Connects:
    """Mixed into urllib3's connections: each opens a bounded socket."""

    timeout: Any
    response_class: Any = Response

    def __init__(
        self, *args: Any, bounds: Bounds, path: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._bounds = bounds
        self._path = path

    def _new_conn(self) -> socket.socket:
        if self._path:
            opened = socket.socket(socket.AF_UNIX)
            opened.settimeout(self._bounds.seconds_to_connect())
            opened.connect(self._path)
        else:
            self.timeout = self._bounds.seconds_to_connect()
            opened = super()._new_conn()  # type: ignore[misc]
        bounded = _PlainSocket(fileno=opened.detach())
        bounded.bounds = self._bounds
        bounded.settimeout(self._bounds.seconds_to_connect())
        return bounded


class PlainConnection(_Connects, HTTPConnection):
    """To an address with http."""


class TlsConnection(_Connects, HTTPSConnection):
    """To an address with https."""

    @property
    def is_connected(self) -> bool:
        """Whether it can be used again: urllib3 does not see what TLS has read ahead."""
        made: Any = self.sock  # within the TLS of a proxy, it cannot be asked
        return super().is_connected and not getattr(made, "pending", int)()


class BoundedAdapter(HTTPAdapter):
    """Opens bounded connections. The arguments alone say what is trusted.

    With a `path`, every connection goes to that Unix socket, whatever the URL says.
    """

    connections: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "http": PlainConnection,
        "https": TlsConnection,
    }

    def __init__(
        self,
        bounds: Bounds,
        path: str = "",
        context: BoundedContext | None = None,
        server_name: str = "",
    ) -> None:
        kinds = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
        self._pools = {
            scheme: partial(
                _pool, kind, partial(self.connections[scheme], bounds=bounds, path=path)
            )
            for scheme, kind in kinds.items()
        }
        self._bounds = bounds
        self._tls: dict[str, Any] = {}
        if context is not None:
            context.bounds = bounds
            self._tls = {"ssl_context": context, "cert_reqs": context.verify_mode}
            if server_name:
                self._tls["server_hostname"] = server_name
        self._url: str | None = None
        self._connections: Any = None
        self._target = ""
        # Vault may redirect to a second host. Each host gets one connection.
        super().__init__(pool_connections=2, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def build_connection_pool_key_attributes(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Return the host and the TLS settings: equal ones share a connection."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, dict(self._tls)

    def get_connection_with_tls_context(
        self, request: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Return the connections to the host of a request. A poll repeats the last URL."""
        known = self._connections
        if known is None or request.url != self._url:
            known = super().get_connection_with_tls_context(request, *args, **kwargs)
            self._target = super().request_url(request, kwargs.get("proxies"))
            self._url, self._connections = request.url, known
        return known

    def close(self) -> None:
        """Close the connections: urllib3 does that when nobody holds them any more."""
        self._connections = None
        super().close()

    def request_url(self, *_args: Any, **_kwargs: Any) -> str:
        """Return what is asked for at that connection: mostly the path."""
        return self._target

    def build_response(self, request: Any, answer: Any) -> requests.Response:
        """Return the answer, without the cookies in it, which nobody reads."""
        response = requests.Response()
        response.status_code, response.reason = answer.status, answer.reason
        response.headers = answer.headers  # names in any case, as requests' own
        response.raw, response.request, response.url = answer, request, request.url
        return response

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return a manager of bounded connections through that proxy."""
        if proxy.lower().startswith("https:") and proxy not in self.proxy_manager:
            kwargs["proxy_ssl_context"] = self._context_for_proxy()
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def _context_for_proxy(self) -> BoundedContext:
        """Return what trusts the system's authorities; all, if Vault's side does."""
        context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_default_certs()
        if self._tls.get("cert_reqs") == ssl.CERT_NONE:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.bounds = self._bounds
        return context

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Change nothing in the pool: its context says what is trusted."""


def _pool(
    pool_class: Callable[..., HTTPConnectionPool],
    connect: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> HTTPConnectionPool:
    """Return a pool whose connections are made by `connect`."""
    pool = pool_class(*args, **kwargs)
    pool.ConnectionCls = connect  # type: ignore[assignment]
    return pool
