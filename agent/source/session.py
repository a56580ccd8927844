"""The HTTP session for Vault: kept alive, bounded, and cut when a pass is over time."""

from __future__ import annotations

import contextlib
import socket
import weakref
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection
    from urllib3.connectionpool import HTTPConnectionPool

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
ANSWER_LIMIT_BYTES = 2 * 1024 * 1024


class CuttableSession(requests.Session):
    """A session without retries, redirects or proxies that another thread can cut."""

    def __init__(self, ca: str, user_agent: str) -> None:
        super().__init__()
        self.trust_env = False  # no proxies, .netrc or CA bundles from the environment
        self.verify = ca or True
        self.headers["User-Agent"] = user_agent
        self.is_cut = False
        self._adapter = _Adapter()
        self.mount("http://", self._adapter)
        self.mount("https://", self._adapter)

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request; raise `ConnectionError` if the answer is too large."""
        if self.is_cut:
            raise requests.ConnectionError("the pass is over time")
        kwargs["stream"] = True
        response = super().request(*args, **kwargs)
        with response:
            body = b""
            for chunk in response.iter_content(65536):
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise requests.ConnectionError("the answer is larger than 2 MiB")
        response._content = body  # noqa: SLF001 - what .content caches
        return response

    def cut(self) -> None:
        """Fail the request under way, and all later ones until `is_cut` is reset.

        Time-outs alone do not bound an answer that comes a byte at a time.
        """
        self.is_cut = True
        for connection in list(self._adapter.connections):
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)


class _Adapter(HTTPAdapter):
    """Knows its live connections."""

    def __init__(self) -> None:
        self.connections: weakref.WeakSet[HTTPConnection] = weakref.WeakSet()
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def get_connection_with_tls_context(
        self, *args: Any, **kwargs: Any
    ) -> HTTPConnectionPool:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        if "ConnectionCls" not in vars(pool):
            plain = pool.ConnectionCls

            def remembered(*args: Any, **kwargs: Any) -> HTTPConnection:
                connection: HTTPConnection = plain(*args, **kwargs)
                self.connections.add(connection)
                return connection

            pool.ConnectionCls = remembered
        found: HTTPConnectionPool = pool
        return found
