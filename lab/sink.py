"""A receiver of Sentry envelopes that accounts for every event, and can misbehave.

It takes OpenTelemetry's spans too, where Sentry takes them.

Bugsink is the real one; this one is for exact numbers at high rates, for several
projects and keys, and for answers that no real one gives when asked to.
`python -m lab.sink` runs it alone.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import sys
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import parse_qs, urlsplit

import brotli

from lab import messages
from lab.ledger import Ledger, Received
from lab.server import Server

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import Mapping

__all__ = ["Received", "Sink", "key_of"]

_SPANS = "integration/otlp/v1/traces"
_PATH = re.compile(rf"/api/(\d+)/(envelope|store|{_SPANS})/?$")
_KEY = re.compile(r"sentry_key=([^,\s]+)")
_GZIP = 31


class Behaviour(NamedTuple):
    """How a project answers."""

    how: Literal["ok", "hang"] | int = "ok"
    seconds: float = 0.0
    headers: Mapping[str, str] | None = None


def key_of(project: int, number: int = 0) -> str:
    """Return a project's key: 32 hexadecimal digits, the same in every run."""
    return hashlib.sha256(f"{project}/{number}".encode()).hexdigest()[:32]


class Sink(Server, Ledger):
    """A sink for any number of projects, in a thread of this process.

    With `strict`, a project and key that `dsn` never named are answered 403.
    """

    def __init__(
        self,
        port: int | None = None,
        host: str = "127.0.0.1",
        *,
        strict: bool = False,
    ) -> None:
        Ledger.__init__(self)
        Server.__init__(self, port, host)
        self.strict = strict
        self._known: set[tuple[int, str]] = set()
        self._behaviour: dict[tuple[int, str | None], Behaviour] = {}
        self._answers: Counter[tuple[int, str, int]] = Counter()

    def dsn(self, project: int, key: str | None = None) -> str:
        """Return a DSN of this sink; `key` is `key_of(project)` unless given."""
        key = key or key_of(project)
        self._known.add((project, key))
        return f"http://{key}@{self.address}/{project}"

    def answer(
        self,
        project: int,
        how: Literal["ok", "hang"] | int,
        *,
        key: str | None = None,
        seconds: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Set how a project, or only one key of it, is answered from now on.

        "ok" books the envelope, `seconds` later answers 200. "hang" never answers, and
        a status code such as 403 or 429 is answered `seconds` later: neither books.
        """
        self._behaviour[project, key] = Behaviour(how, seconds, headers)

    def answered(
        self, status: int, project: int | None = None, key: str | None = None
    ) -> int:
        """Return how many envelopes were answered with that status."""
        return sum(
            amount
            for (in_project, with_key, with_status), amount in list(
                self._answers.items()
            )
            if with_status == status
            and project in {None, in_project}
            and key in {None, with_key}
        )

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        while request := await messages.read(reader):
            writer.write(await self._respond(request))
            await writer.drain()

    async def _respond(self, request: messages.Message) -> bytes:
        method, target, _ = request.start
        url = urlsplit(target)
        found = _PATH.search(url.path)
        if not found or method != "POST":
            return messages.answer(404)
        project, key = int(found[1]), _key(request, url.query)
        behaviour = self._behaviour_of(project, key)
        status = 200 if isinstance(behaviour.how, str) else behaviour.how
        body = b""
        if behaviour.how == "ok":
            status, body = self._take(project, key, request, found[2])
        if behaviour.how == "hang":
            await self.pause(None)
        elif behaviour.seconds:
            await self.pause(behaviour.seconds)
        self._answers[project, key, status] += 1
        return messages.answer(status, body, behaviour.headers)

    def _behaviour_of(self, project: int, key: str) -> Behaviour:
        if self.strict and (project, key) not in self._known:
            return Behaviour(403)
        everyone = self._behaviour.get((project, None), Behaviour())
        return self._behaviour.get((project, key), everyone)

    def _take(
        self, project: int, key: str, request: messages.Message, kind: str
    ) -> tuple[int, bytes]:
        try:
            body = _decoded(request.body, request.header("Content-Encoding"))
            if kind == _SPANS:
                self.book_spans(project, key, body)
                return 200, b""
            if kind == "store":
                header = b'{}\n{"type":"event","length":%d}\n' % len(body)
                body = header + body
            event_id = self.book(project, key, body)
        except (ValueError, zlib.error, brotli.error) as error:
            return 400, json.dumps({"detail": str(error)}).encode()
        return 200, json.dumps({"id": event_id}).encode()


def _key(request: messages.Message, query: str) -> str:
    found = _KEY.search(request.header("X-Sentry-Auth"))
    return found[1] if found else parse_qs(query).get("sentry_key", [""])[0]


def _decoded(body: bytes, encoding: str) -> bytes:
    match encoding.lower():
        case "gzip":
            return zlib.decompress(body, _GZIP)
        case "deflate":
            return zlib.decompress(body)
        case "br":
            return bytes(brotli.decompress(body))
        case _:
            return body


def main() -> None:
    """Print a DSN, receive until SIGINT or SIGTERM, print what arrived."""
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Sink(int(sys.argv[1]) if len(sys.argv) > 1 else None) as sink:
        print(sink.dsn(1), flush=True)
        signal.sigwait(signals)
        kinds = ("event", "transaction", "session", "log", "trace_metric")
        counts = {kind: sink.count(kind) for kind in kinds}
        print(json.dumps({**counts, "duplicates": sink.duplicates()}))


if __name__ == "__main__":
    main()
