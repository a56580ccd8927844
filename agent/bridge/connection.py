"""A connection of the webhook's address, within limits that hold whoever connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

CONNECTIONS = 256
"""With so many open connections, an old one gives way to a new one."""
OLD_SECONDS = 1.0
"""Sentry itself waits for so long. A connection that has sent no request by then is old."""
MOST_CONNECTIONS = 512
"""A request beyond these is answered with 503, and a further connection ends at once."""
CONNECTION_SECONDS = 10.0
"""A request must have come whole after this time, and a connection ends with its answer."""
HEADER_BYTES = 16 * 1024


class Connection(H11Protocol):
    """One connection. An old one that still sends gives way to a new one."""

    began = 0.0
    _ending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self._ending = self.loop.call_later(CONNECTION_SECONDS, self._end)
        if len(self.connections) > CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that has ended."""
        super().connection_lost(exc)
        if self._ending is not None:
            self._ending.cancel()

    def _make_room(self) -> None:
        others = [cast("Connection", each) for each in self.connections]
        oldest = min(
            (each for each in others if each.is_sending), key=lambda each: each.began
        )
        if self.began - oldest.began > OLD_SECONDS:
            oldest.transport.abort()
        elif len(others) > MOST_CONNECTIONS:
            self.transport.abort()

    @property
    def is_sending(self) -> bool:
        """Whether no whole request has come yet that still has to be answered."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _end(self) -> None:
        if self.transport.is_closing():
            return
        if self.is_sending:
            self.transport.abort()
        else:  # its answer comes within a limit of its own
            self._ending = self.loop.call_later(1, self._end)
