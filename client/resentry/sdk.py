"""Every name of sentry-sdk that is not public stands in this file, and in its test.

`tests/unit/client/test_client_sdk.py` names them one by one against the oldest and the
newest supported version.
"""

from __future__ import annotations

import enum
import io
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.profiler.transaction_profiler import teardown_profiler
from sentry_sdk.transport import HttpTransport
from sentry_sdk.utils import capture_internal_exceptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PRIVATE = {
    HttpTransport: (
        "_fetch_pending_client_report",
        "_request",
        "_send_envelope",
    ),
    sentry_sdk.Scope: ("remove_attribute",),
}
"""What must exist for a swap to lose nothing, by class."""

COMPONENTS = ("log_batcher", "metrics_batcher", "span_batcher", "session_flusher")
"""Attributes of a client that hold items back, and send them through its transport."""


def missing() -> list[str]:
    """Name what this version of sentry-sdk lacks of it; empty when all is there."""
    return [
        f"{owner.__name__}.{name}"
        for owner, names in PRIVATE.items()
        for name in names
        if not hasattr(owner, name)
    ]


class Fate(enum.Enum):
    """What became of one envelope."""

    DONE = "sent, or dropped as the SDK drops (rate limits, 5xx)"
    REFUSED = "answered as by a DSN that is revoked: not stored"
    UNSENT = "the connection failed before the whole of it was written: not stored"
    UNKNOWN = "the connection failed after it was written"


_FATES = {f"status_{code}": Fate.REFUSED for code in (401, 403, 404)}


class Wire(HttpTransport):
    """An `HttpTransport` that sends at once, and says what became of the envelope.

    An envelope of a fate that `keep` accepts is not counted as lost.
    """

    def __init__(self, options: dict[str, Any], keep: Callable[[Fate], bool]) -> None:
        self._keep = keep
        self._fate = Fate.DONE
        self._body: _Body | None = None
        super().__init__(options)

    def send(self, envelope: Envelope) -> Fate:
        """Send one envelope. Never raises."""
        self._fate, self._body = Fate.DONE, None
        with capture_internal_exceptions():
            self._send_envelope(envelope)
        return self._fate

    def report(self, *, force: bool = False) -> Envelope | None:
        """Return a client report as an envelope, if one is due."""
        item = self._fetch_pending_client_report(force=force)
        return None if item is None else Envelope(items=[item])

    def close(self) -> None:
        """Close the kept connections."""
        pool: Any = self._pool
        pool.clear()

    def on_dropped_event(self, reason: str) -> None:
        """Learn, from the SDK, why the envelope was not sent."""
        if reason == "network":
            written = self._body is not None and self._body.is_read
            self._fate = Fate.UNKNOWN if written else Fate.UNSENT
        else:
            self._fate = _FATES.get(reason, Fate.DONE)

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report, unless the envelope is kept."""
        if not self._keep(self._fate):
            super().record_lost_event(*args, **kwargs)

    def _request(
        self,
        method: str,
        endpoint_type: Any,
        body: bytes,
        headers: Mapping[str, str],
    ) -> Any:
        self._body = _Body(body)
        sized = {**headers, "Content-Length": str(len(body))}
        return super()._request(method, endpoint_type, self._body, sized)


class _Body(io.BytesIO):
    """A request's body that knows whether all of it was written to the connection."""

    is_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next part; the empty one at the end means all was written."""
        part = super().read(size)
        self.is_read = not part
        return part


def components(client: sentry_sdk.Client) -> list[Any]:
    """The parts of a client that hold items back."""
    found = (getattr(client, name, None) for name in COMPONENTS)
    return [part for part in found if part is not None]


def redirect_components(old: sentry_sdk.Client, new: sentry_sdk.Client) -> None:
    """Let what is captured on `old` from now on be held by the parts of `new`."""
    for name in COMPONENTS:
        part = getattr(new, name, None)
        if part is not None and getattr(old, name, None) is not None:
            setattr(old, name, part)


def take_monitor(new: sentry_sdk.Client, old: sentry_sdk.Client) -> None:
    """Give `new` the back-pressure monitor of `old`, with its thread.

    The thread of one that is told to end sleeps for up to 10 s more.
    """
    if old.monitor is not None and new.monitor is not None and new.transport:
        old.monitor.transport = new.transport
        new.monitor, old.monitor = old.monitor, None


def set_current(client: sentry_sdk.Client) -> None:
    """Make the client current, in one attribute store."""
    scope = sentry_sdk.get_global_scope()
    if not client.options["release"]:
        # set_client overwrites this attribute only by a release that is set.
        scope.remove_attribute("sentry.release")
    scope.set_client(client)
    if not client.options["profiles_sample_rate"]:
        teardown_profiler()  # the SDK never ends its thread
