"""A connection of the webhook's address, within limits that hold whoever connects."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio

CONNECTIONS = 256
"""The limit of open connections."""
CONNECTION_SECONDS = 10.0
"""A request must have come whole after this time, and a connection ends with its answer."""
HEADER_BYTES = 16 * 1024


class Connection(H11Protocol):
    """One connection. The one that has been sending for longest gives way to a new one."""

    began = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection."""
        super().connection_made(transport)
        self.began = self.loop.time()
        self.loop.call_later(CONNECTION_SECONDS, self._end)
        if len(self.connections) > CONNECTIONS:
            others = [cast("Connection", each) for each in self.connections]
            waiting = [each for each in others if each.is_sending]
            if waiting:
                min(waiting, key=lambda each: each.began).transport.abort()

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
            self.loop.call_later(1, self._end)
