"""What stands between the agent and a server, and spoils what passes."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab import messages
from lab.server import Server, Streams

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Callable, Mapping

_TLS_HANDSHAKE = b"\x16"
_CHUNK_BYTES = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Faults:
    """What a proxy does to the answers that pass; the default is nothing.

    Over TLS it sees only bytes: an answer is then what arrives in one piece, `cut`
    and `latency` count for each, `status` does nothing, and `garbage` flips all bits.
    """

    latency: float = 0.0
    """Seconds before an answer begins."""
    cut: int | None = None
    """Close the connection after so many bytes of an answer."""
    drip: float = 0.0
    """Seconds before each byte of an answer."""
    garbage: bytes | None = None
    """Stands in place of each answer's body, under its own status."""
    status: int | None = None
    """Answered without asking the server, with `body` and `headers`."""
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """These may also give the body another length than it has."""
    endless: bool = False
    """Send `body` again and again, until the client has enough."""
    refuse: bool = False
    """Close each connection at once."""
    hang: bool = False
    """Accept connections and requests, and answer none."""


class Proxy(Server):
    """A proxy before one server, given as URL or as host:port.

    Set `faults` while it runs: the next answer is spoilt as it says. It also serves
    clients that know it for a proxy, though what they ask for is always the one server.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        super().__init__(host=host)
        scheme, _, place = upstream.rpartition("://")
        parts = urlsplit(f"//{place}")
        self._upstream = str(parts.hostname), parts.port or 80
        self.url = f"{scheme or 'http'}://{self.address}"
        self.faults = Faults()
        self.requests: list[messages.Message] = []
        """What it was asked and understood, so nothing over TLS."""

    def clear(self) -> None:
        """Let everything pass again; what hangs, hangs until its client gives up."""
        self.faults = Faults()

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Carry one connection."""
        if self.faults.refuse:
            return
        first = await reader.read(1)
        client = reader, writer
        if first == _TLS_HANDSHAKE:
            await self._carry_bytes(first, client)
        elif first:
            await self._carry_requests(first, client)

    async def _carry_requests(self, first: bytes, client: Streams) -> None:
        reader, writer = client
        server: Streams | None = None
        while request := await messages.read(reader, first):
            first = b""
            self.requests.append(request)
            faults = self.faults
            if faults.refuse:
                return
            if faults.hang:
                await _read_to_end(reader)
                return
            if request.start[0] == "CONNECT":
                writer.write(messages.answer(200))
                await self._carry_bytes(b"", client)
                return
            if faults.status is not None:
                answer = messages.answer(faults.status, faults.body, faults.headers)
            else:
                server = server or await self.connect(*self._upstream)
                answer = await self.ask(server, request)
            if not await self._deliver(writer, answer, faults):
                return

    async def ask(self, server: Streams, request: messages.Message) -> bytes:
        """Have the server answer one request; return the answer, spoilt as faults say."""
        return await _ask(server, request, self.faults.garbage)

    async def _carry_bytes(self, first: bytes, client: Streams) -> None:
        if self.faults.hang:
            await _read_to_end(client[0])
            return
        server = await self.connect(*self._upstream)
        server[1].write(first)
        ways = [
            asyncio.create_task(self._carry_questions(client[0], server[1])),
            asyncio.create_task(self._carry_answers(server[0], client[1])),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for _, writer in (client, server):
            writer.close()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _carry_questions(
        self, reader: StreamReader, writer: StreamWriter
    ) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()

    async def _carry_answers(self, reader: StreamReader, writer: StreamWriter) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            faults = self.faults
            if faults.hang:
                await _read_to_end(reader)
                return
            if faults.garbage is not None:
                data = bytes(byte ^ 0xFF for byte in data)
            if faults.refuse or not await self._deliver(writer, data, faults):
                return

    async def _deliver(
        self, writer: StreamWriter, answer: bytes, faults: Faults
    ) -> bool:
        """Send an answer as the faults say; tell whether the connection goes on."""
        if faults.latency:
            await self.pause(faults.latency)
        step = 1 if faults.drip else len(answer)
        whole = answer[: faults.cut]
        for start in range(0, len(whole), step):
            if faults.drip:
                await self.pause(faults.drip)
            writer.write(whole[start : start + step])
            await writer.drain()
        while faults.endless:
            writer.write(faults.body)
            await writer.drain()
        return faults.cut is None


class Gate(Proxy):
    """A proxy that holds one request: until its client, killed meanwhile, is no more.

    Set `wanted`, and kill the client when `is_held`. Held `after` is a request that the
    server has answered; the answer is lost. Else the server never gets the request.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._wanted: Callable[[messages.Message], bool] | None = None
        self._after = False
        self.is_held = False

    def hold(self, wanted: Callable[[messages.Message], bool], *, after: bool) -> None:
        """Hold the next request that `wanted` is true of."""
        self._wanted, self._after, self.is_held = wanted, after, False

    async def ask(self, server: Streams, request: messages.Message) -> bytes:
        """Have the server answer, unless this is the request to hold."""
        if self._wanted is None or not self._wanted(request):
            return await super().ask(server, request)
        self._wanted = None
        if self._after:
            await super().ask(server, request)
        self.is_held = True
        await self.pause(None)
        raise EOFError("held until the end")


class Balancer(Proxy):
    """A TCP balancer: each new connection goes to the next of some servers.

    Each server gives one answer, whatever it is asked.
    """

    def __init__(self, *answers: Faults) -> None:
        super().__init__("127.0.0.1:9")
        self._turns = itertools.cycle(answers)

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Carry one connection to the server whose turn it is."""
        self.faults = next(self._turns)
        await super().converse(reader, writer)


async def _ask(
    server: Streams, request: messages.Message, garbage: bytes | None
) -> bytes:
    reader, writer = server
    writer.write(request.head + request.body)
    await writer.drain()
    method = request.start[0]
    answer = await messages.read(reader, has_body=method != "HEAD")
    if answer is None:
        raise EOFError("the server closed instead of answering")
    if garbage is None:
        return answer.head + answer.body
    kind = {"Content-Type": answer.header("Content-Type")}
    return messages.answer(int(answer.start[1]), garbage, kind)


async def _read_to_end(reader: StreamReader) -> None:
    while await reader.read(_CHUNK_BYTES):
        pass
