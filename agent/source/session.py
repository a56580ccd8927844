"""The HTTP session for Vault: kept alive, bounded, and cut when a pass is over time."""

from __future__ import annotations

import contextlib
import socket
import weakref
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from agent.source.tls import Tls

if TYPE_CHECKING:
    import ssl

    from agent.settings import Settings

CONNECT_SECONDS = 3.0
READ_SECONDS = 10.0
ANSWER_LIMIT_BYTES = 2 * 1024 * 1024
SOCKET_SCHEME = "unix://"
SOCKET_URL = "http://localhost"


class TooLargeError(requests.RequestException):
    """The answer is larger than `ANSWER_LIMIT_BYTES`."""


class RedirectError(requests.RequestException):
    """The server points to where nothing may be sent."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(why)
        self.host = host
        self.why = why


class CuttableSession(requests.Session):
    """A session without retries that another thread can cut.

    It takes nothing from the environment, unless proxies are asked for, and follows
    one redirect at most: never to another scheme, so never down to http, and to another
    host, with the token, only if that host is listed.
    """

    def __init__(self, settings: Settings, user_agent: str) -> None:
        super().__init__()
        address = settings.vault_addr
        is_socket = address.startswith(SOCKET_SCHEME)
        self.url = SOCKET_URL if is_socket else address
        self.trust_env = False  # no .netrc or CA bundles from the environment
        self.headers["User-Agent"] = user_agent
        if settings.vault_trust_env:
            self.proxies.update(get_environ_proxies(self.url))
        self.is_cut = False
        self._lines: weakref.WeakSet[_Cuttable] = weakref.WeakSet()
        self.is_tls = address.startswith("https:")
        self._socket = address.removeprefix(SOCKET_SCHEME) if is_socket else ""
        self._settings = settings
        self._tls = Tls(settings)
        self._mounted: ssl.SSLContext | None = None
        self._listed = {host.lower() for host in settings.vault_redirect_hosts}
        self.mount("http://", self._adapter(None))

    def refresh(self) -> None:
        """Begin anew: not cut, and with the certificate files of now."""
        self.is_cut = False
        if not self.is_tls:
            return
        context = self._tls.context()
        if context is not self._mounted:
            self.close()
            self.mount("https://", self._adapter(context))
            self._mounted = context

    def _adapter(self, context: ssl.SSLContext | None) -> HTTPAdapter:
        kinds = _pool_classes(self._lines, self._socket)
        return _Adapter(kinds, context, self._settings.vault_server_name)

    def send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        """Send one request, read its answer; raise a `RequestException` of some kind."""
        response = self._send(request, **kwargs)
        if not response.is_redirect:
            return response
        again = request.copy()
        again.url = self._redirected(request, response)
        response = self._send(again, **kwargs)
        if response.is_redirect:
            raise RedirectError(_host(str(again.url)), "redirects a second time")
        return response

    def get_redirect_target(self, _response: requests.Response) -> None:
        """Nothing: requests would otherwise read a redirect's body, however long."""

    def _send(
        self, request: requests.PreparedRequest, **kwargs: Any
    ) -> requests.Response:
        if self.is_cut:
            raise requests.ConnectionError("the pass is over time")
        kwargs["stream"] = True
        response = super().send(request, **kwargs)
        with response:
            body = bytearray()
            for chunk in response.iter_content(65536):
                body += chunk
                if len(body) > ANSWER_LIMIT_BYTES:
                    raise TooLargeError
        response._content = bytes(body)  # noqa: SLF001 - what .content caches
        return response

    def _redirected(
        self, request: requests.PreparedRequest, response: requests.Response
    ) -> str:
        """Where the server points to, if the request may go there."""
        was = str(request.url)
        url = urljoin(was, response.headers["Location"])
        to, host = urlsplit(url), _host(url)
        if to.scheme != (scheme := urlsplit(was).scheme):
            raise RedirectError(host, f"redirects from {scheme} to {to.scheme}")
        listed = {host, str(to.hostname)} & self._listed
        if host != _host(was) and not listed:
            raise RedirectError(host, "redirects to another host")
        return url

    def cut(self) -> None:
        """Fail the request under way, and all later ones until `refresh`.

        Time-outs alone do not bound an answer that comes a byte at a time.
        """
        self.is_cut = True
        for line in list(self._lines):
            line.cut()


def _host(url: str) -> str:
    """Host and port, as a setting would name them."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = parts.port or default
    return f"{parts.hostname}:{port}" if port != default else str(parts.hostname)


class _Cuttable:
    """Mixed into urllib3's connections: can be cut, also during the TLS handshake."""

    lines: weakref.WeakSet[_Cuttable]
    path: str
    timeout: float
    _line: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        if self.path:
            connected = socket.socket(socket.AF_UNIX)
            connected.settimeout(CONNECT_SECONDS)
            connected.connect(self.path)
        else:
            connected = super()._new_conn()  # type: ignore[misc]
        # TLS takes the first descriptor away; shutting down any ends the connection.
        self._line = connected.dup()
        self.lines.add(self)
        return connected

    def close(self) -> None:
        super().close()  # type: ignore[misc]
        if self._line is not None:
            self._line.close()

    def cut(self) -> None:
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)


def _pool_classes(lines: weakref.WeakSet[_Cuttable], path: str) -> dict[str, type]:
    """Return urllib3's pools by scheme, of connections that can be cut."""
    kinds: dict[str, tuple[type, type]] = {
        "http": (HTTPConnectionPool, HTTPConnection),
        "https": (HTTPSConnectionPool, HTTPSConnection),
    }
    made = {}
    for scheme, (pool, connection) in kinds.items():
        named = {"lines": lines, "path": path}
        line = type(f"Cuttable{connection.__name__}", (_Cuttable, connection), named)
        made[scheme] = type(
            f"Cuttable{pool.__name__}", (pool,), {"ConnectionCls": line}
        )
    return made


class _Adapter(HTTPAdapter):
    """Connects as its arguments say, whatever requests would make of `verify`."""

    def __init__(
        self, kinds: dict[str, type], context: ssl.SSLContext | None, name: str
    ) -> None:
        self._kinds = kinds
        self._tls: dict[str, Any] = {}
        if context is not None:
            self._tls = {"ssl_context": context, "cert_reqs": context.verify_mode}
            if name:
                self._tls |= {"server_hostname": name, "assert_hostname": name}
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self.poolmanager.pool_classes_by_scheme = kinds

    def build_connection_pool_key_attributes(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, dict(self._tls)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._kinds
        return manager

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave the pool alone: its context has all that is trusted."""
