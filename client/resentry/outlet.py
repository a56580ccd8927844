"""The transport of one Sentry client: it never refuses an envelope, nor forgets one.

`Client.close()` nulls the client's transport, and a thread that fetched the client
just before then drops its event without a word. So a retired client keeps its outlet,
and the outlet hands what still comes to the client that is current. It has a queue and
a sending thread of its own, because the SDK's queue does not give back what it holds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk
from sentry_sdk.transport import Transport

from resentry.harmless import fault, tally
from resentry.sdk import Fate, Wire, is_report, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeGuard

    from sentry_sdk.envelope import Envelope

PARKED_ENVELOPES = 1000
PARKED_BYTES = 10 * 1024 * 1024
PARKED_SECONDS = 15 * 60

_own_keys: set[str] = set()
_leaving: list[Outlet] = []
"""Outlets that are not current any more, until disposed of."""


class _Parked(NamedTuple):
    envelope: Envelope
    size: int
    until: float


class Outlet(Transport):
    """Sends to one DSN; once retired, what still comes goes to the current outlet.

    But only where it would be true: if the environment is the same. Otherwise it goes
    to this DSN after all.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._pid = os.getpid()
        self._key = str(self.parsed_dsn.public_key) if self.parsed_dsn else ""
        _own_keys.add(self._key)
        self._environment = options["environment"]
        self._wire = Wire(options, keep=self._keeps)
        self._limit = int(options["transport_queue_size"])
        self._queue: deque[Envelope] = deque()
        self._parked: deque[_Parked] = deque()
        self._parked_bytes = 0
        self._sending = False
        self._last_done = time.monotonic()
        self._ended = False
        self._retired = False
        self._thread: threading.Thread | None = None
        # Reentrant: the garbage collector may log, and so capture, at any bytecode.
        self._changed = threading.Condition(threading.RLock())

    # The application's side

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue the envelope, or hand it over once retired. Never raises."""
        try:
            # In a forked child what is here, locks included, is the parent's.
            if self._pid != os.getpid() or not self._takes(envelope):
                self._reroute(envelope)
        except Exception:  # noqa: BLE001 - a request must not fail for its event
            fault("capturing")

    def _takes(self, envelope: Envelope) -> bool:
        with self._changed:  # so nothing for an heir enters after `retire`
            if self._retired and self.heir is not None:
                return False
            self._enqueue(envelope)
            return True

    def _enqueue(self, envelope: Envelope) -> None:
        if len(self._queue) >= self._limit:
            for item in envelope.items:
                self.record_lost_event("queue_overflow", item=item)
            return
        self._stamp(envelope)
        self._queue.append(envelope)
        if self._retired and self not in _leaving:  # `flush` waits for it again
            _leaving.append(self)
        self._start()
        self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = start_thread("resentry.outlet", self._run)

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
                        self._wire.close()
                        self._forget()
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
            if self.heir is not None:  # else the next one may be in doubt as well
                self.give_up()
        elif self._keeps(fate):
            self._keep(envelope)
        report = self._wire.report()
        if report is not None:
            self._wire.send(report)

    def _keeps(self, fate: Fate) -> bool:
        """Whether an envelope of that fate is kept, and so is no loss to report."""
        return fate is Fate.REFUSED or (fate is Fate.UNSENT and self._retired)

    def _keep(self, envelope: Envelope) -> None:
        """Park what a revoked DSN refused, for the DSN that comes after it."""
        if is_report(envelope):
            return
        size = len(envelope.serialize())
        with self._changed:
            if not self._retired:
                self._park(_Parked(envelope, size, time.monotonic() + PARKED_SECONDS))
                return
        self._reroute(envelope)

    def _park(self, newest: _Parked) -> None:
        parked, now = self._parked, time.monotonic()
        parked.append(newest)
        self._parked_bytes += newest.size
        tally.parked += 1
        while parked and (
            len(parked) > PARKED_ENVELOPES
            or self._parked_bytes > PARKED_BYTES
            or parked[0].until < now
        ):
            self._parked_bytes -= parked.popleft().size
            tally.dropped += 1

    # The swap's side

    @property
    def heir(self) -> Outlet | None:
        """The outlet to which what is left here may go: the current one, if it fits."""
        current = sentry_sdk.get_global_scope().client.transport
        return current if self._is_heir(current) else None

    def _is_heir(self, other: object) -> TypeGuard[Outlet]:
        return (
            isinstance(other, Outlet)
            and other is not self
            and other._environment == self._environment  # noqa: SLF001
        )

    @property
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        with self._changed:
            return len(self._queue) + self._sending

    @property
    def idle_seconds(self) -> float:
        """How long ago the last envelope was done with."""
        return time.monotonic() - self._last_done

    def leave(self, successor: Transport | None) -> None:
        """Know that another will be current: it waits for this one in `flush`."""
        _leaving.append(self)
        if self._is_heir(successor):
            # From Python 3.12 on no thread starts any more when the process ends.
            with successor._changed, contextlib.suppress(RuntimeError):  # noqa: SLF001
                successor._start()  # noqa: SLF001

    def retire(self) -> None:
        """Hand over what comes from now on, and what is parked.

        Where there is no heir, what comes is sent to this DSN after all, and what is
        parked is dropped.
        """
        report = self._wire.report(force=True)
        with self._changed:
            if report is not None:
                self._enqueue(report)
            self._retired = True
            parked, self._parked = self._parked, deque()
        now = time.monotonic()
        for one in parked:
            if one.until < now:
                tally.dropped += 1
            else:
                self._reroute(one.envelope)

    def give_up(self) -> None:
        """Take back what was not started, and hand it over: the DSN hangs."""
        with self._changed:
            left, self._queue = self._queue, deque()
            self._changed.notify_all()
        for envelope in left:
            self._reroute(envelope)

    def _reroute(self, envelope: Envelope) -> None:
        heir = self.heir
        if is_report(envelope):  # of what its own project lost
            return
        if heir is None:
            tally.dropped += 1
        else:
            tally.rerouted += 1
            heir.capture_envelope(envelope)

    def dispose(self) -> None:
        """End the sending thread once the queue is empty, and close connections."""
        thread = self._thread
        self.kill()
        if thread is not None and not self.pending:
            thread.join(1.0)
        self._wire.close()
        if not self._queue:  # what hangs now is not waited for
            self._forget()

    def _forget(self) -> None:
        with contextlib.suppress(ValueError):
            _leaving.remove(self)

    # What the SDK asks of a transport

    def flush(
        self,
        timeout: float,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Wait until all is sent, here and where outlets are leaving.

        At most `timeout` seconds; `callback` is told when it takes longer than 0.1.
        """
        if self._pid != os.getpid() or timeout <= 0:
            return
        deadline = time.monotonic() + timeout
        report = self._wire.report(force=True)
        if report is not None:
            with self._changed:
                self._enqueue(report)
        if not self._wait_idle(min(0.1, timeout)) and callback is not None:
            callback(self.pending, timeout)
        for outlet in (self, *_leaving, self):  # at last what the others handed over
            if outlet._pid == self._pid:  # noqa: SLF001
                outlet._wait_idle(deadline - time.monotonic())  # noqa: SLF001

    def _wait_idle(self, seconds: float) -> bool:
        with self._changed:
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
