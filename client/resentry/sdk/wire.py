"""Sends one envelope at a time, and returns what happened to it."""

from __future__ import annotations

import enum
import io
from typing import TYPE_CHECKING, Any

from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import capture_internal_exceptions

from resentry.answers import REFUSED
from resentry.contract import fingerprint
from resentry.process import here
from resentry.sdk.items import TestItem
from resentry.sockets import note_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resentry.process import Home


class Fate(enum.Enum):
    """What happened to one envelope."""

    DONE = "sent, or dropped as the SDK drops (rate limits, 5xx)"
    REFUSED = "answered as by a DSN that is revoked: not stored"
    UNSENT = "the connection failed before the whole of it was written: not stored"
    UNKNOWN = "the connection failed after it was written"


_own_keys: set[str] = set()
_FATES = {f"status_{code}": Fate.REFUSED for code in REFUSED}


class Wire(HttpTransport):
    """An `HttpTransport` that sends at once, and returns what happened to the envelope.

    An envelope with a fate that `keep` accepts is not counted as lost.
    """

    def __init__(self, options: dict[str, Any], keep: Callable[[Fate], bool]) -> None:
        self._keep = keep
        self._fate = Fate.DONE
        self.status: int | None = None
        """What the newest envelope was answered; 429 if a rate limit let none be sent."""
        self._is_test = False
        self._body: _Body | None = None
        self._home = here()
        self._mark = fingerprint(str(options["dsn"]))
        super().__init__(options)
        self._key = str(self.parsed_dsn.public_key) if self.parsed_dsn else ""
        _own_keys.add(self._key)
        # urllib3 would import this in the sending thread. A child that is forked meanwhile
        # would inherit the import lock, and never send anything.
        import encodings.idna  # noqa: F401, PLC0415 - takes 2 ms

        note_connections(self._pool)

    def send(self, envelope: Envelope) -> Fate:
        """Send one envelope, in the process that made this wire. Never raises."""
        self._fate, self._body, self.status = Fate.DONE, None, None
        self._is_test = isinstance(envelope, TestItem)
        with capture_internal_exceptions():
            self._send_envelope(envelope)
        # Losses that the application's threads report from now on are real losses.
        fate, self._fate = self._fate, Fate.DONE
        return fate

    def stamp(self, envelope: Envelope) -> None:
        """Name this DSN's key in a trace that began under another one of ours."""
        trace = envelope.headers.get("trace") or {}
        if trace.get("public_key") in _own_keys - {self._key}:
            envelope.headers["trace"] = {**trace, "public_key": self._key}

    def report(self, *, force: bool = False) -> Envelope | None:
        """Return a client report as an envelope, if one is due."""
        item = self._fetch_pending_client_report(force=force)
        return None if item is None else Envelope(items=[item])

    def heed(self, limits: dict[Any, Any]) -> None:
        """Keep rate limits in this dictionary, which all wires of the DSN share."""
        self._disabled_until = limits

    def hurry(self, seconds: float) -> None:
        """Let no request take longer than `seconds` from now on: a caller waits."""
        with capture_internal_exceptions():
            pool: Any = self._pool
            dsn: Any = self.parsed_dsn
            url = f"{dsn.scheme}://{dsn.host}:{dsn.port}"
            connections = pool.connection_from_url(url)
            connections.timeout = type(connections.timeout)(total=seconds)

    def close(self) -> None:
        """Close the kept connections."""
        pool: Any = self._pool
        pool.clear()

    def on_dropped_event(self, reason: str) -> None:
        """Note why the SDK did not send the envelope."""
        if reason == "self_rate_limits":
            self.status = 429
        if reason == "network":
            written = self._body is not None and self._body.is_read
            self._fate = Fate.UNKNOWN if written else Fate.UNSENT
        else:
            self._fate = _FATES.get(reason, Fate.DONE)

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report, unless the envelope is kept."""
        if not self._keep(self._fate):
            super().record_lost_event(*args, **kwargs)

    def _update_rate_limits(self, response: Any) -> None:
        """Keep a rate limit, unless a test item met it: no event would be sent then."""
        if not self._is_test:
            super()._update_rate_limits(response)

    def _request(
        self,
        method: str,
        endpoint_type: Any,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Any:
        self._body = _Body(body, self._home)
        sized = {**headers, "Content-Length": str(len(body))}
        status = None
        try:
            response = super()._request(method, endpoint_type, self._body, sized)
            status = response.status
        finally:
            if self._home is here():  # else a greenlet went on in a forked child
                self._home.answers.note(self._mark, status)
                self.status = status
        return response


class _Body(io.BytesIO):
    """A request's body that knows whether the connection has got all of it."""

    is_read = False

    def __init__(self, body: bytes, home: Home) -> None:
        super().__init__(body)
        self._home = home

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next part. The empty part at the end means that all was written."""
        if self._home is not here():  # a greenlet goes on in a forked child
            raise OSError("the envelope is another process's")
        part = super().read(size)
        self.is_read = not part
        return part


def is_report(envelope: Envelope) -> bool:
    """Whether the envelope holds client reports only, which belong to one project."""
    return all(item.type == "client_report" for item in envelope.items)
