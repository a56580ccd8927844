"""The webhook's address: an ASGI application with one path. Each request has its answer.

| status | when |
|---|---|
| 202 | the webhook is on the disk |
| 200 | nothing to do: it came before, or it is older than what is known, or it concerns no alert |
| 400 | a header is missing, or the time is more than an hour off |
| 401 | the signature is wrong |
| 404, 405 | another path, another method |
| 408 | the body did not come within 5 s |
| 413 | the body is larger than 4 MiB |
| 422 | the signature is right, but the body does not say what it is about |
| 500 | an unexpected error: a bug of the bridge |
| 503 | too much waits, or the store cannot be written: Sentry may try again |

A connection ends with its answer. So its time limit never cuts a later request off.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from agent.bridge import news
from agent.bridge.signature import has_form
from agent.bridge.store import Full
from agent.bridge.tables import StoreError, Webhook

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from agent.bridge.metrics import BridgeMetrics
    from agent.bridge.signature import Secrets
    from agent.bridge.store import Store

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

PATH = "/sentry"
BODY_BYTES = 4 * 1024 * 1024
"""An event has 1 MiB at most; in JSON, letters beyond ASCII take up to three times as much."""
ALL_BODIES_BYTES = 32 * 1024 * 1024
"""The limit of all bodies that are received at once."""
BODY_SECONDS = 5.0
WRITE_SECONDS = 5.0
OFF_SECONDS = 3600.0
"""A webhook's time may be off by so much. The time is not signed: this is no proof."""
SAY_SECONDS = 60.0
"""Refusals with one status are logged once in this time, with their number."""
_ID_BYTES = 200
_TIME_DIGITS = 12

log = structlog.get_logger()


class Answer(NamedTuple):
    """How a request is answered, and what is counted."""

    status: int
    text: str
    result: str


class Unusable(Exception):
    """A request that is answered before anything is stored."""

    def __init__(self, status: int, text: str, result: str = "refused") -> None:
        self.answer = Answer(status, text, result)
        super().__init__(text)


class Receiver:
    """Receives webhooks. An ASGI application."""

    def __init__(self, store: Store, secrets: Secrets, metrics: BridgeMetrics) -> None:
        self._store = store
        self._secrets = secrets
        self._metrics = metrics
        self.wrong_signatures = 0
        self.wrong_signature_at = 0.0
        self._receiving = 0
        """The bytes of all bodies that have come so far and are not answered."""
        self._unsaid: dict[int, int] = {}
        """The number of refusals that are not logged yet, by status."""
        self._say_at: dict[int, float] = {}

    async def __call__(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        """Answer one request."""
        began = time.monotonic()
        headers = dict(scope["headers"])
        resource = _text(headers, b"sentry-hook-resource")
        try:
            answer = await self._answer(scope, headers, receive, resource)
        except Unusable as error:
            answer = error.answer
            if answer.status == 401:
                self.wrong_signatures += 1
                self.wrong_signature_at = time.time()
            self._refused(answer, resource)
        except Exception as error:  # noqa: BLE001 - a stranger gets no traceback, and is counted
            answer = Answer(500, "an unexpected error", "error")
            self._refused(answer, resource, error)
        self._metrics.received(resource, answer.result, time.monotonic() - began)
        body = f"{answer.text}\n".encode()
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if answer.status == 503:
            fields.append((b"retry-after", b"5"))
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def _refused(
        self, answer: Answer, resource: str, error: Exception | None = None
    ) -> None:
        """Log a refusal, or count it for the next line: strangers decide how many come."""
        status, now = answer.status, time.monotonic()
        self._unsaid[status] = self._unsaid.get(status, 0) + 1
        if status == 404 or now < self._say_at.get(status, 0.0):
            return
        log.log(
            logging.WARNING if error is None else logging.ERROR,
            "webhooks were refused",
            status=status,
            reason=answer.text,
            resource=resource if resource in news.RESOURCES else news.OTHER,
            number=self._unsaid.pop(status),
            exc_info=error,
        )
        self._say_at[status] = now + SAY_SECONDS

    async def _answer(
        self,
        scope: MutableMapping[str, Any],
        headers: dict[bytes, bytes],
        receive: Receive,
        resource: str,
    ) -> Answer:
        if scope["path"].rstrip("/") != PATH:
            raise Unusable(404, f"webhooks are received at {PATH}")
        if scope["method"] != "POST":
            raise Unusable(405, "webhooks are sent by POST")
        signature = headers.get(b"sentry-hook-signature", b"")
        request_id = _text(headers, b"request-id")
        if not (signature and request_id and resource):
            raise Unusable(
                400,
                "Sentry's headers are missing: Sentry-Hook-Signature, Request-ID, "
                "Sentry-Hook-Resource",
            )
        if not has_form(signature):
            raise Unusable(401, "the signature is wrong")
        told = _time(headers)
        body = await self._body(headers, receive)
        if not self._secrets.accept(signature, body):
            raise Unusable(401, "the signature is wrong: check the client secret")
        try:
            said = news.read(resource, body)
        except news.NotUnderstood as error:
            raise Unusable(
                422, f"the body is not understood: {error}", "not_understood"
            ) from None
        # Of one body there is one signature, and no event comes twice.
        digest = signature.decode() if resource == "event_alert" else ""
        # The header is not signed: no stranger's word becomes a name in the store.
        kind = resource if resource in news.RESOURCES else news.OTHER
        return await self._take(Webhook(request_id, kind, told, said, digest))

    async def _take(self, webhook: Webhook) -> Answer:
        try:
            writing = asyncio.wrap_future(self._store.take(webhook))
            result = await asyncio.wait_for(writing, WRITE_SECONDS)
        except (Full, StoreError, TimeoutError):
            raise Unusable(503, "the webhook cannot be stored now", "busy") from None
        if webhook.news is not None and result in ("opened", "closed"):
            said = "an alert was opened" if result == "opened" else "alerts were closed"
            log.info(said, subject=webhook.news.subject)
        is_done = result in ("opened", "renewed", "closed")
        return Answer(202 if is_done else 200, result, result)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"0")
        if len(length) > 8 or not length.isdigit() or int(length) > BODY_BYTES:
            raise Unusable(413, f"the body is larger than {BODY_BYTES} bytes")
        parts, size = list[bytes](), 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Unusable(400, "the connection ended within the body")
                    part = message.get("body", b"")
                    parts.append(part)
                    size += len(part)
                    self._receiving += len(part)
                    if size > BODY_BYTES:
                        raise Unusable(
                            413, f"the body is larger than {BODY_BYTES} bytes"
                        )
                    if self._receiving > ALL_BODIES_BYTES:
                        raise Unusable(503, "too much is received at once", "busy")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            raise Unusable(
                408, f"the body did not come in {BODY_SECONDS:g} s"
            ) from None
        finally:
            self._receiving -= size


def _text(headers: dict[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"")[:_ID_BYTES].decode("latin-1")


def _time(headers: dict[bytes, bytes]) -> float:
    """Return Sentry's time of a webhook; ours if it names none, or one of the future.

    The time is not signed: nobody makes a later webhook an old one by it.
    """
    given, now = _text(headers, b"sentry-hook-timestamp"), time.time()
    if not given:
        return now
    is_number = given.isascii() and given.isdigit() and len(given) <= _TIME_DIGITS
    if not is_number or abs(float(given) - now) > OFF_SECONDS:
        raise Unusable(
            400,
            "Sentry-Hook-Timestamp is more than an hour off: an old request, or the clock "
            "of this machine is wrong",
        )
    return min(float(given), now)
