"""Listen addresses, served by waitress within limits that hold whoever connects.

Health checks must be answered while strangers hold connections. So a request is small and
has no body, a connection has a time limit in total, and a new connection takes the place
of the one that has been idle longest.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import RequestEntityTooLarge

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

CONNECTIONS = 32
"""The limit of open connections."""
CONNECTION_SECONDS = 10
"""A connection is closed after this time, whatever it does."""
HEADER_BYTES = 8 * 1024
LOOK_SECONDS = 1.0
"""The time between two looks for connections to close, while there are any."""
_NOBODY_SECONDS = 3600.0
_FULL_SECONDS = 0.1
"""The pause when the process has no file descriptor left for a connection."""

log = structlog.get_logger()


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """Refuses a request with a body as soon as its header is read."""

    error: Any = None
    expect_continue = False

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError:  # a number with thousands of digits
            raise ParsingError("Content-Length is invalid") from None

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.body_rcv is not None:
            self.error = RequestEntityTooLarge("a request must not have a body")
            self.completed, self.expect_continue = True, False
        return consumed


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    parser_class = _Parser


def listen(application: Callable[..., Any], host: str, port: int) -> list[Listener]:
    """Return a listener for each address that the host stands for.

    Raises `OSError` or `ValueError` if an address cannot be used.
    """
    settings = Adjustments(
        host=host,
        port=port,
        ident=None,
        recv_bytes=4096,
        max_request_header_size=HEADER_BYTES,
        log_socket_errors=False,
    )
    return [Listener(application, settings, address) for address in settings.listen]


class Listener(TcpWSGIServer):  # type: ignore[misc]
    """Serves an application at one address."""

    channel_class = _Channel

    def __init__(
        self, application: Callable[..., Any], settings: Adjustments, address: Any
    ) -> None:
        tasks = ThreadedTaskDispatcher()
        super().__init__(
            application, map={}, dispatcher=tasks, adj=settings, sockinfo=address
        )
        tasks.set_thread_count(1)

    def start(self) -> None:
        """Serve from now on, in daemon threads."""
        threading.Thread(target=self.run, name="http", daemon=True).start()

    def run(self) -> None:
        """Serve for ever."""
        while True:
            # Without connections nothing wakes up.
            wait = LOOK_SECONDS if self.active_channels else _NOBODY_SECONDS
            wasyncore.poll(wait, self._map)
            self._close_old(time.time())

    def readable(self) -> bool:
        """Connections are always accepted."""
        return True

    def handle_accept(self) -> None:
        """Accept a connection. One that is idle gives way to it."""
        if len(self.active_channels) >= CONNECTIONS:
            self._close_idle()
        try:
            accepted = self.accept()
        except OSError as error:
            log.warning(
                "cannot accept an HTTP connection; trying again",
                reason=error.strerror or str(error),
                hint="raise the limit of open files",
            )
            if self.active_channels:
                self._close_idle()
            else:
                time.sleep(_FULL_SECONDS)
            return
        if accepted is not None:
            connection, address = accepted
            self._take(connection, address)

    def _take(self, connection: socket.socket, address: Any) -> None:
        self.channel_class(self, connection, address, self.adj, map=self._map)

    def _close_idle(self) -> None:
        channels = self.active_channels.values()
        min(channels, key=lambda channel: channel.last_activity).handle_close()

    def _close_old(self, now: float) -> None:
        for channel in list(self.active_channels.values()):
            if not 0 <= now - channel.creation_time < CONNECTION_SECONDS:
                channel.handle_close()
