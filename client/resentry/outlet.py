"""The transport of one Sentry client: it never refuses an envelope.

`Client.close()` nulls the client's transport, and a thread that fetched the client
just before then drops its event without a word. So a retired client keeps its outlet,
and the outlet hands what still comes to the client that is current.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from sentry_sdk.transport import HttpTransport, Transport

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope


class Outlet(Transport):
    """Sends through an `HttpTransport` until retired, then through `successor`."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._options = options
        self._gate = threading.Lock()
        self._http = HttpTransport(options)
        self._successor: Callable[[Envelope], None] | None = None

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue the envelope, or hand it over once retired."""
        with self._gate:  # nothing enters the queue once `retire` returns
            successor = self._successor
            if successor is None:
                self._http.capture_envelope(envelope)
                return
        successor(envelope)

    def retire(self, successor: Callable[[Envelope], None]) -> None:
        """Let every later envelope go to `successor`."""
        self._http._flush_client_reports(force=True)  # noqa: SLF001
        with self._gate:
            self._successor = successor

    @property
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        worker: Any = self._http._worker  # noqa: SLF001
        return int(worker._queue.unfinished_tasks)  # noqa: SLF001

    def dispose(self) -> None:
        """End the sending thread and close the connections. Call it when drained."""
        self._http.kill()
        self._http._pool.clear()  # noqa: SLF001

    def reset_in_child(self) -> None:
        """Start empty after a fork: the parent sends what the parent queued.

        The child must not use the parent's connections either, and its locks may
        have been held by a thread that does not exist here.
        """
        self._gate = threading.Lock()
        self._http = HttpTransport(self._options)

    def flush(
        self,
        timeout: float,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Wait until what is queued is sent, at most `timeout` seconds."""
        self._http.flush(timeout, callback)

    def kill(self) -> None:
        """End the sending thread, as `Client.close()` asks at exit."""
        self._http.kill()

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report."""
        self._http.record_lost_event(*args, **kwargs)

    def is_healthy(self) -> bool:
        """Say whether the SDK should keep its sampling rates."""
        return self._http.is_healthy()
