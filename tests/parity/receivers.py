"""What a program of the parity suite talks to: Sentry's receiver, and another service."""

from __future__ import annotations

import asyncio
import ssl
import threading
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from lab import messages
from lab.server import Server
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable

PROJECTS = (1, 2)
"""Swaps alternate between them."""
SLOW_SECONDS = 0.15
"""The other service takes so long for `/slow`, longer than the SDK's threshold."""


class Request(NamedTuple):
    """One request as it arrived; its headers in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def read(message: messages.Message) -> Request:
    """Take a message apart."""
    method, target, _ = message.start
    lines = message.head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(method, target, headers, message.body)


class _Read:
    """Says whether all that was ever sent to a server has been read."""

    @property
    def is_read(self) -> bool:
        """Whether no connection is open."""
        return not self._conversations


class Recorder(_Read, Sink):
    """A sink that remembers each request whole, and can let all wait for its answer."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self.arrived = threading.Condition()
        self._open = asyncio.Event()
        self._open.set()

    async def _respond(self, request: messages.Message) -> bytes:
        with self.arrived:
            self.requests.append(read(request))
            self.arrived.notify_all()
        await self._open.wait()
        return await super()._respond(request)

    def stop(self) -> None:
        self.release()
        super().stop()

    def hold(self) -> None:
        """Answer nothing until `release`."""
        self._do(self._open.clear)

    def release(self) -> None:
        """Answer what waits, and all that comes."""
        self._do(self._open.set)

    def _do(self, change: Callable[[], None]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(change)

    def await_requests(self, number: int) -> None:
        """Return once so many requests have arrived."""
        with self.arrived:
            self.arrived.wait_for(lambda: len(self.requests) >= number, 30)


class Other(_Read, Server):
    """Another service: it answers everything, and remembers what it was asked.

    It is also a proxy for CONNECT, and does what a program asks of the runner.
    """

    def __init__(self, sink: Recorder, stay: Callable[[], None]) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._sink = sink
        self._stay = stay

    async def converse(self, reader, writer) -> None:  # type: ignore[no-untyped-def]
        while message := await messages.read(reader):
            request = read(message)
            if request.target.startswith("/runner/"):
                await asyncio.to_thread(self._obey, request.target.split("/")[2:])
                writer.write(messages.answer(200))
                await writer.drain()
                return
            self.requests.append(request)
            if request.method == "CONNECT":
                await self._tunnel(request, reader, writer)
                return
            status = urlsplit(request.target).path.rpartition("/")[2]
            if status == "slow":
                await asyncio.sleep(SLOW_SECONDS)
            writer.write(messages.answer(int(status) if status.isdigit() else 200))
            await writer.drain()

    def _obey(self, words: list[str]) -> None:
        match words:
            case ["hold"]:
                self._sink.hold()
            case ["release"]:
                self._sink.release()
            case ["answer", status]:
                for project in PROJECTS:
                    self._sink.answer(project, int(status))
            case ["stay"]:
                self._stay()
            case ["received", number]:
                self._sink.await_requests(int(number))

    async def _tunnel(self, request, reader, writer) -> None:  # type: ignore[no-untyped-def]
        host, _, port = request.target.partition(":")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await relay((reader, writer), await self.connect(host, int(port)))


class Encrypted(_Read, Server):
    """TLS in front of the sink; it wants a certificate of who connects, if it may."""

    def __init__(self, sink: Recorder, context: ssl.SSLContext) -> None:
        super().__init__()
        self._sink = sink
        self._context = context
        self.subjects: list[str] = []
        """Who has connected, by their certificates."""

    async def converse(self, reader, writer) -> None:  # type: ignore[no-untyped-def]
        try:
            await writer.start_tls(self._context)
        except (ssl.SSLError, OSError):
            return
        shown = writer.get_extra_info("peercert") or {}
        names = [value for rdn in shown.get("subject", ()) for _, value in rdn]
        self.subjects.append(", ".join(names))
        await relay((reader, writer), await self.connect("127.0.0.1", self._sink.port))


async def relay(near, far) -> None:  # type: ignore[no-untyped-def]
    """Carry bytes both ways until both ends are at their end."""
    await asyncio.gather(_copy(near[0], far[1]), _copy(far[0], near[1]))


async def _copy(reader, writer) -> None:  # type: ignore[no-untyped-def]
    try:
        while part := await reader.read(65_536):
            writer.write(part)
            await writer.drain()
    finally:
        writer.close()
