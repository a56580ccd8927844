"""Something that the agent notifies over HTTP: it remembers each POST, and can fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from lab import messages
from lab.server import Server

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Mapping


class Receiver(Server):
    """Answers every POST with the status `how`, or never while that is "hang"."""

    def __init__(
        self,
        how: int | Literal["hang"] = 200,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        super().__init__()
        self.how = how
        self.requests: list[messages.Message] = []
        self.body, self._headers = body, headers
        self.url = f"http://{self.address}/hook"

    @property
    def revisions(self) -> list[str]:
        """The revision that each POST named, in the order in which they came."""
        return [one.header("Resentry-Revision") for one in self.requests]

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection."""
        while request := await messages.read(reader):
            self.requests.append(request)
            if self.how == "hang":
                await self.pause(None)
                return
            writer.write(messages.answer(self.how, self.body, self._headers))
            await writer.drain()
