"""The little of HTTP/1.1 that the lab's own servers speak: one message at a time."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncio import StreamReader
    from collections.abc import Mapping


class Message(NamedTuple):
    """A request or an answer, byte for byte."""

    head: bytes
    body: bytes
    """As it was on the wire: of a chunked message with its chunk sizes."""

    @property
    def start(self) -> list[str]:
        """The three parts of the first line."""
        return self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def header(self, name: str) -> str:
        """Return a header's value, empty without one."""
        return _header(self.head, name)


async def read(
    reader: StreamReader, first: bytes = b"", *, has_body: bool = True
) -> Message | None:
    """Return the next message, None at the end of the stream.

    `first` is what was read of it before; `has_body` is False for an answer to HEAD. Raises EOFError when the stream ends within.
    """
    head = first or await reader.read(1)
    if not head:
        return None
    head += await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1] if head.startswith(b"HTTP/") else b""
    if not has_body or status in {b"204", b"304"}:
        return Message(head, b"")
    if _header(head, "Transfer-Encoding").lower() == "chunked":
        return Message(head, await _read_chunks(reader))
    length = _header(head, "Content-Length")
    if not length and status:
        return Message(head, await reader.read())
    return Message(head, await reader.readexactly(int(length or 0)))


async def _read_chunks(reader: StreamReader) -> bytes:
    raw, size = b"", -1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        raw += line + await reader.readexactly(size + 2)
    return raw


def _header(head: bytes, name: str) -> str:
    wanted = name.lower().encode() + b":"
    for line in head.split(b"\r\n")[1:]:
        if line[: len(wanted)].lower() == wanted:
            return line[len(wanted) :].strip().decode("latin-1")
    return ""


def answer(
    status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> bytes:
    """Return an answer that keeps the connection open."""
    phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    lines = [f"{name}: {value}" for name, value in fields.items()]
    return (
        "\r\n".join([f"HTTP/1.1 {status} {phrase}", *lines, "", ""]).encode("latin-1")
        + body
    )
