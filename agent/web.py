"""One bounded HTTP request, which returns the status and the beginning of the body."""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

BODY_BYTES = 2048
_LOOPBACK = re.compile(r"(?:.+\.)?localhost|(?:::ffff:)?127\.[0-9.]+|(?:0:){7}1|::1")
_LINK_LOCAL = bytes((169, 254))
_METADATA = ipaddress.ip_network("fd00:ec2::/32")
"""Where Amazon serves the same over IPv6."""
_TRANSLATED = {
    ipaddress.ip_network(network): places
    for network, places in (
        ("::/96", (12,)),
        ("::ffff:0:0/96", (12,)),
        ("64:ff9b::/96", (12,)),
        ("64:ff9b:1::/48", (6, 9, 12)),
        ("2002::/16", (2,)),
    )
}
"""Where in an address of these networks an IPv4 address may stand (RFC 6052, RFC 3056)."""


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    seconds: float,
    *,
    to_link_local: bool = True,
) -> tuple[int, bytes]:
    """POST as `exchange` does."""
    request = Request("POST", url, headers, body)
    return exchange(request, seconds, to_link_local=to_link_local)


def get(
    url: str, headers: Mapping[str, str], seconds: float, limit: int = BODY_BYTES
) -> tuple[int, bytes]:
    """GET as `exchange` does, but never from a link-local address."""
    return exchange(
        Request("GET", url, headers), seconds, limit=limit, to_link_local=False
    )


class Request(Value, frozen=True):
    """One request."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None
    address: str = ""
    """The IP address to connect to; empty if the name of the URL decides."""


class Answer(Value, frozen=True):
    """The answer to a request."""

    status: int
    body: bytes
    date: str
    """When the server says that it is; empty if it says nothing."""


def exchange(
    request: Request,
    seconds: float,
    *,
    limit: int = BODY_BYTES,
    to_link_local: bool = True,
) -> tuple[int, bytes]:
    """Do what `ask` does, and return the status and the body."""
    answer = ask(request, seconds, limit=limit, to_link_local=to_link_local)
    return answer.status, answer.body


def ask(
    request: Request,
    seconds: float,
    *,
    limit: int = BODY_BYTES,
    to_link_local: bool = True,
) -> Answer:
    """Send on a new connection. Certificates are checked. Redirects are not followed.

    At most `limit` bytes of the body are read. Every failure, also a late answer, is an
    `OSError` that quotes nothing. Without `to_link_local` nothing is sent to such an
    address, whatever name it has.
    """
    began = time.monotonic()
    parts = urlsplit(request.url)
    is_https = parts.scheme == "https"
    port = 443 if is_https else 80
    host = parts.hostname or ""
    connection = http.client.HTTPConnection(host, parts.port or port, timeout=seconds)
    connection.default_port = port
    deadline: threading.Timer | None = None
    try:
        place = (request.address or host, connection.port)
        connection.sock = socket.create_connection(place, seconds)
        if not to_link_local and is_link_local(connection.sock.getpeername()[0]):
            raise OSError("a link-local address")
        if is_https:  # only now: a handshake sends something
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        # The time-out bounds each read, but an answer may come a byte at a time.
        remaining = max(0.0, began + seconds - time.monotonic())
        deadline = threading.Timer(remaining, _cut, [connection.sock])
        deadline.daemon = True
        deadline.start()
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {**request.headers, "Connection": "close"}
        connection.request(request.method, target, request.body, headers)
        answer = connection.getresponse()
        date = answer.headers.get("Date", "")
        return Answer(answer.status, answer.read(limit), date)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() - began >= seconds:
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise OSError(_reason(error)) from None
    finally:
        if deadline is not None:
            deadline.cancel()
        connection.close()


def is_private(url: SplitResult) -> bool:
    """Return true if a request to this address cannot be read on a network."""
    return url.scheme == "https" or bool(_LOOPBACK.fullmatch(url.hostname or ""))


def is_link_local(address: str) -> bool:
    """Whether an IP address is link-local: there, clouds serve a machine's secrets.

    An IPv6 address leads to an IPv4 address that stands within it (NAT64, 6to4, mapped).
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if ip.is_link_local or ip.version == 4:
        return ip.is_link_local
    return ip in _METADATA or any(
        ip in network and ip.packed[place:].startswith(_LINK_LOCAL)
        for network, places in _TRANSLATED.items()
        for place in places
    )


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    """Return the system's reason. Other errors may quote what was sent or received."""
    if isinstance(error, http.client.HTTPException) or not isinstance(error, OSError):
        return f"no HTTP answer ({type(error).__name__})"
    if isinstance(error, socket.gaierror):
        return f"DNS: the name cannot be resolved ({error.strerror})"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: the certificate is not accepted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"TLS: no connection ({error.reason}): check http or https, and the port"
    return error.strerror or str(error)
