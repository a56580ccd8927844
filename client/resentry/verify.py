"""Sends test items through this process's client, because an operator asks for it."""

from __future__ import annotations

import os
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

from resentry import clock, otlp
from resentry.contract import ContractError
from resentry.reader import read_file
from resentry.sdk import items
from resentry.span import encode_span
from resentry.verification import (
    AGAIN_SECONDS,
    VERIFY_FILE,
    VERIFY_LIMIT_BYTES,
    Ask,
    Sent,
    Verified,
    decode_ask,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sentry_sdk

FORBIDDEN = "RESENTRY_VERIFY"
"""With `off` in this environment variable, a process sends no test items."""


class Verifier:
    """Takes up requests on one volume, in one process. One thread calls `look`.

    `answered` is called, in any thread, when `verified` has changed.
    """

    def __init__(
        self,
        directory: str,
        role: str,
        environ: Mapping[str, str],
        answered: Callable[[], None],
    ) -> None:
        self._answered = answered
        self._path = f"{directory}/{VERIFY_FILE}"
        self._role = role
        self._is_forbidden = environ.get(FORBIDDEN, "").strip().lower() == "off"
        self._seen: tuple[int, int] | None = None
        self._nonce = ""
        self._again_at = 0.0
        self._dsn = ""
        """The DSN by which the newest items were to be sent."""
        self._items: dict[str, Sent] = {}
        self._state = ""

    @property
    def verified(self) -> Verified | None:
        """The part of this process in the newest request; `None` before the first."""
        if not self._state:
            return None
        return Verified(self._nonce, self._state, tuple(self._items.values()))

    def look(self, client: sentry_sdk.Client | None, *, is_foreign: bool) -> None:
        """Do what a new request asks for. `client` is the one that runs."""
        if _dsn_of(client) != self._dsn:  # what the earlier DSN answered proves nothing
            for kind, sent in self._items.items():
                if sent.state != "unused":
                    self._items[kind] = Sent(kind, "swapped", sent.event)
        if clock.monotonic() < self._again_at:
            return
        try:
            file = os.stat(self._path)
        except OSError:  # nobody asks
            return
        mark = file.st_ino, file.st_mtime_ns
        if mark == self._seen:
            return
        self._seen = mark
        try:
            ask = decode_ask(read_file(self._path, VERIFY_LIMIT_BYTES))
        except (OSError, ContractError):  # the agent writes another one
            return
        is_asked = not ask.roles or self._role in ask.roles
        if ask.nonce != self._nonce and is_asked and time.time() < ask.until:
            self._again_at = clock.monotonic() + AGAIN_SECONDS
            self._answer(ask, client, is_foreign=is_foreign)

    def _answer(
        self, ask: Ask, client: sentry_sdk.Client | None, *, is_foreign: bool
    ) -> None:
        self._nonce, self._items = ask.nonce, {}
        self._dsn = _dsn_of(client)
        transport = client.transport if client is not None else None
        if self._is_forbidden:
            self._state = "forbidden"
        elif is_foreign:
            self._state = "foreign"
        elif client is None or transport is None or not client.dsn:
            self._state = "off"
        else:
            self._state = "asked"
            for kind in ask.kinds:
                answered = partial(self._note, ask.nonce, kind, time.monotonic())
                if kind == "span":
                    self._send_span(ask.nonce, client.options, answered)
                    continue
                envelope = items.make(kind, ask.nonce, client.options, answered)
                event = str(envelope.headers["event_id"])
                self._items[kind] = Sent(kind, "handed", event)
                transport.capture_envelope(envelope)

    def _send_span(
        self,
        nonce: str,
        options: dict[str, Any],
        answered: Callable[[str, int | None], None],
    ) -> None:
        """Send a span by OpenTelemetry's exporter, if one of them sends by our DSN."""
        trace = uuid.uuid4().hex
        self._items["span"] = Sent("span", "handed", trace)
        try:
            is_sent = otlp.send_test(encode_span(trace, nonce, options), answered)
        except RuntimeError:  # no thread can be started
            answered("unreached", None)
        else:
            if not is_sent:
                self._items["span"] = Sent("span", "unused")

    def _note(
        self, nonce: str, kind: str, began: float, state: str, status: int | None
    ) -> None:
        """Note what became of an item, in the thread that sends."""
        ms = round((time.monotonic() - began) * 1000, 1)
        sent = self._items.get(kind)
        if nonce == self._nonce and sent is not None and sent.state == "handed":
            self._items[kind] = sent._replace(state=state, status=status, ms=ms)
            self._answered()


def _dsn_of(client: sentry_sdk.Client | None) -> str:
    return str(client.dsn or "") if client is not None else ""
