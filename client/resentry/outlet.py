"""The transport of one Sentry client: it never refuses an envelope, nor forgets one.

`Client.close()` nulls the client's transport, and a thread that fetched the client
just before then drops its event without a word. So a retired client keeps its outlet,
and the outlet hands what still comes to the client that is current. It has a queue and
a sending thread of its own, because the SDK's queue does not give back what it holds.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk.transport import Transport

from resentry.sdk import Fate, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

    Successor = Callable[[Envelope], None]

log = logging.getLogger("resentry")

PARKED_ENVELOPES = 1000
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60

_own_keys: set[str] = set()


@dataclass
class Tally:
    """What became of envelopes that did not go the plain way, in this process."""

    parked: int = 0
    rerouted: int = 0
    dropped: int = 0
    unknown: int = 0
    faults: int = 0
    """Exceptions inside the library that were kept from the application."""

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


tally = Tally()


def reset_tally() -> None:
    """Begin at zero, in a forked child."""
    for name in tally.as_dict():
        setattr(tally, name, 0)


class _Parked(NamedTuple):
    envelope: Envelope
    size: int
    until: float


class Outlet(Transport):
    """Sends to one DSN until retired; what still comes then goes to a successor."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._pid = os.getpid()
        self._key = str(self.parsed_dsn.public_key) if self.parsed_dsn else ""
        _own_keys.add(self._key)
        self._wire = Wire(options, keep=self._keeps)
        self._limit = int(options["transport_queue_size"])
        self._queue: deque[Envelope] = deque()
        self._parked: deque[_Parked] = deque()
        self._sending = False
        self._last_done = time.monotonic()
        self._ended = False
        self._retired = False
        self._successor: Successor | None = None
        self._thread: threading.Thread | None = None
        # Reentrant: the garbage collector may log, and so capture, at any bytecode.
        self._changed = threading.Condition(threading.RLock())

    # The application's side

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue the envelope, or hand it over once retired. Never raises."""
        try:
            if self._pid != os.getpid():  # a forked child: what is here is the parent's
                hand_over(envelope, besides=self)
                return
            with self._changed:  # nothing enters the queue once `retire` returns
                successor = self._successor
                if successor is None:
                    self._enqueue(envelope)
                    return
            successor(envelope)
        except Exception:
            tally.faults += 1
            log.debug("resentry: an envelope could not be taken", exc_info=True)

    def _enqueue(self, envelope: Envelope) -> None:
        if len(self._queue) >= self._limit:
            for item in envelope.items:
                self._wire.record_lost_event("queue_overflow", item=item)
            return
        self._stamp(envelope)
        self._queue.append(envelope)
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="resentry.outlet", daemon=True
            )
            self._thread.start()
        self._changed.notify_all()

    def _stamp(self, envelope: Envelope) -> None:
        """Name this DSN's key in a trace that began under another one of ours."""
        trace = envelope.headers.get("trace") or {}
        if trace.get("public_key") in _own_keys - {self._key}:
            envelope.headers["trace"] = {**trace, "public_key": self._key}

    # The sending thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue:
                    if self._ended:
                        self._thread = None
                        return
                    self._changed.wait()
                envelope = self._queue.popleft()
                self._sending = True
            try:
                self._deliver(envelope)
            finally:
                with self._changed:
                    self._sending = False
                    self._last_done = time.monotonic()
                    self._changed.notify_all()

    def _deliver(self, envelope: Envelope) -> None:
        fate = self._wire.send(envelope)
        if fate is Fate.UNKNOWN and self._retired:
            tally.unknown += 1
        elif self._keeps(fate):
            if self._retired:
                self._reroute(envelope)
            else:
                self._park(envelope)
        report = self._wire.report()
        if report is not None:
            self._wire.send(report)

    def _keeps(self, fate: Fate) -> bool:
        """Whether an envelope of that fate is kept, and so is no loss to report."""
        return fate is Fate.REFUSED or (fate is Fate.UNSENT and self._retired)

    def _park(self, envelope: Envelope) -> None:
        """Keep what a revoked DSN refused, for the DSN that comes after it."""
        size = len(envelope.serialize())
        now = time.monotonic()
        with self._changed:
            parked = self._parked
            parked.append(_Parked(envelope, size, now + PARKED_SECONDS))
            tally.parked += 1
            while parked and (
                len(parked) > PARKED_ENVELOPES
                or sum(one.size for one in parked) > PARKED_BYTES
                or parked[0].until < now
            ):
                parked.popleft()
                tally.dropped += 1

    # The swap's side

    @property
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        with self._changed:
            return len(self._queue) + self._sending

    @property
    def idle_seconds(self) -> float:
        """How long ago the last envelope was done with."""
        return time.monotonic() - self._last_done

    def retire(self, successor: Successor | None) -> None:
        """Hand everything later, and what is parked, to `successor`.

        Without one, what still comes is sent to the old DSN after all, and what is
        parked is dropped.
        """
        report = self._wire.report(force=True)
        with self._changed:
            if report is not None:
                self._queue.append(report)
            self._retired = True
            self._successor = successor
            parked, self._parked = self._parked, deque()
            self._changed.notify_all()
        now = time.monotonic()
        for one in parked:
            if one.until < now:
                tally.dropped += 1
            else:
                self._reroute(one.envelope)

    def give_up(self) -> None:
        """Take back what was not started, and hand it over: the old DSN hangs."""
        with self._changed:
            left, self._queue = self._queue, deque()
            self._changed.notify_all()
        for envelope in left:
            self._reroute(envelope)

    def _reroute(self, envelope: Envelope) -> None:
        if self._successor is None:
            tally.dropped += 1
        else:
            tally.rerouted += 1
            self._successor(envelope)

    def dispose(self) -> None:
        """End the sending thread once the queue is empty, and close connections."""
        thread = self._thread
        self.kill()
        if thread is not None and not self.pending:
            thread.join(1.0)
        self._wire.close()

    # What the SDK asks of a transport

    def flush(
        self,
        timeout: float,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Wait until what is queued is sent, at most `timeout` seconds."""
        if self._pid != os.getpid() or timeout <= 0:
            return
        report = self._wire.report(force=True)
        with self._changed:
            if report is not None:
                self._enqueue(report)
            first = min(0.1, timeout)
            if self._wait_idle(first):
                return
            if callback is not None:
                callback(self.pending, timeout)
            self._wait_idle(timeout - first)

    def _wait_idle(self, seconds: float) -> bool:
        return self._changed.wait_for(lambda: not self.pending, seconds)

    def kill(self) -> None:
        """Let the sending thread end once its queue is empty."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report."""
        self._wire.record_lost_event(*args, **kwargs)

    def is_healthy(self) -> bool:
        """Say whether the SDK should keep its sampling rates."""
        return len(self._queue) < self._limit and self._wire.is_healthy()


def hand_over(envelope: Envelope, besides: Transport | None = None) -> None:
    """Give an envelope to the client that is current now; off means it is dropped."""
    transport = sentry_sdk.get_global_scope().client.transport
    if isinstance(transport, Outlet) and transport is not besides:
        transport.capture_envelope(envelope)
    else:
        tally.dropped += 1
