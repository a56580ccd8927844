"""The transport of one Sentry client. It never refuses an envelope and never forgets one.

`Client.close()` sets the transport to None: a thread that fetched the client just before drops
its event silently. So a retired client keeps its outlet, which passes what still arrives on to
the current client. It has its own queue and thread (its `Line`): the SDK's can't be emptied.

    current ──announce_successor──▶ leaving ──retire──▶ retired ──close──▶ closed

    leaving   Another client is current. Threads may still use this client, so this outlet
              still queues what arrives.
    retired   What arrives goes to the heir: the current outlet, if both have the same
              environment. Without an heir it is sent to this outlet's own DSN.
    closed    The thread ends once the queue is empty, and starts again if more arrives.

What happens to an envelope depends on its `Fate`:

    DONE      Nothing more: it was sent, or dropped as the SDK drops.
    REFUSED   current: parked for the heir, within bounds; retired: given to the heir
    UNSENT    current: dropped, as the SDK does; retired: given to the heir
    UNKNOWN   Counted, and never sent again. Retired: the heir gets the rest of the queue.

Without an heir an envelope is dropped and counted. A `TestItem` is sent once, by the DSN that
was asked, and takes no place of the application's own envelopes.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import sentry_sdk
from sentry_sdk.transport import Transport

from resentry import clock
from resentry.answers import kind_of
from resentry.contract import fingerprint
from resentry.harmless import fault
from resentry.line import Line
from resentry.process import has_green_threads, here, on_renewal
from resentry.sdk.items import TestItem
from resentry.sdk.wire import Fate, Wire, is_report
from resentry.verification import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

    from resentry.process import Home

_limits: dict[str, dict[Any, Any]] = {}
"""Rate limits by the DSN's fingerprint: a swap does not end a rate limit."""
_leaving: list[Outlet] = []
"""Outlets that are no longer current and not closed yet."""


class Outlet(Transport):
    """Sends to one DSN. Once retired, it passes envelopes on to the current outlet."""

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self._options = options
        self.dsn = fingerprint(str(self.parsed_dsn)) if self.parsed_dsn else ""
        self._environment = options["environment"]
        size = int(options["transport_queue_size"])
        self._limit = size if size > 0 else sys.maxsize  # as a `Queue` has it
        self._retired = False
        self._made = self._new_line(here())

    def _new_line(self, home: Home) -> Line:
        wire = Wire(self._options, keep=self._keeps)
        wire.heed(_limits.setdefault(self.dsn, {}))
        return Line(home, wire, self._deliver, self._after_first_look, self._drop)

    @property
    def _line(self) -> Line:
        """The line of this process: in a forked child another one, and empty."""
        line, home = self._made, here()
        if line.home is home:
            return line
        with home.making:
            if self._made.home is not home:
                self._made = self._new_line(home)
        return self._made

    # The application's side

    def capture_envelope(self, envelope: Envelope) -> None:
        """Queue the envelope, or hand it over once retired. Never raises."""
        try:
            line = self._line
            with line.changed:  # so nothing for an heir enters after `retire`
                if not self._retired or self.heir is None:
                    self._enqueue(line, envelope)
                    return
            self._reroute(envelope)
        except Exception:  # noqa: BLE001 - a request must not fail for its event
            fault("capturing")

    def _enqueue(self, line: Line, envelope: Envelope) -> None:
        if isinstance(envelope, TestItem):
            if 2 * line.own >= self._limit or line.tests >= len(KINDS):
                envelope.answered("busy", None)
                return
        elif line.own >= self._limit:
            for item in envelope.items:
                self.record_lost_event("queue_overflow", item=item)
            return
        line.wire.stamp(envelope)
        if self._retired and self not in _leaving:  # `flush` waits for it again
            _leaving.append(self)
        line.put(envelope)

    # The sending thread

    def _deliver(self, envelope: Envelope) -> None:
        line = self._line
        fate = line.wire.send(envelope)
        if line.home is not here():  # a greenlet went on in a forked child
            return
        if isinstance(envelope, TestItem):
            envelope.answered(kind_of(line.wire.status), line.wire.status)
        elif fate is Fate.UNKNOWN and self._retired:
            line.home.tally.unknown += not is_report(envelope)
            if self.heir is not None:  # else the next one may be in doubt as well
                self.hand_over_queue()
        elif self._keeps(fate):
            self._keep(envelope)
        report = line.wire.report()
        if report is not None:
            line.wire.send(report)
        if self._retired and line.is_over:
            self.stop_leaving()

    def _keeps(self, fate: Fate) -> bool:
        """Whether an envelope of that fate is kept, and so is no loss to report."""
        return fate is Fate.REFUSED or (fate is Fate.UNSENT and self._retired)

    def _keep(self, envelope: Envelope) -> None:
        """Park what a revoked DSN refused, for the DSN that comes after it."""
        if is_report(envelope):
            return
        size, line = len(envelope.serialize()), self._line
        with line.changed:
            if not self._retired:
                line.parking.add(envelope, size)
                return
        self._reroute(envelope)

    # The swap's side

    @property
    def heir(self) -> Outlet | None:
        """The outlet to which what is left here may go: the current one, if it fits."""
        other = _current()
        if not isinstance(other, Outlet) or other is self:
            return None
        return other if other._environment == self._environment else None  # noqa: SLF001

    @property
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        return self._line.pending

    @property
    def idle_seconds(self) -> float:
        """How long ago the last envelope was done with."""
        return clock.monotonic() - self._line.last_done

    def announce_successor(self) -> None:
        """Let `flush` on the successor also wait for what is still queued here."""
        _leaving.append(self)

    def start_heir(self) -> None:
        """Start the heir's thread: since Python 3.12 none can start when the process ends."""
        heir = self.heir
        if heir is not None and not has_green_threads():
            heir._line.start()  # noqa: SLF001

    def retire(self) -> None:
        """Hand over what arrives from now on, and what is parked.

        Without an heir, this DSN gets what arrives, and what is parked is dropped.
        """
        line = self._line
        with line.changed:
            self._retired = True
            parked = line.parking.take()
        for envelope in parked:
            self._reroute(envelope)

    def hand_over_queue(self) -> None:
        """Give the heir every envelope whose sending has not begun: this DSN hangs."""
        line = self._line
        with line.changed:  # so a `flush` finds it here, or at the heir's
            for envelope in line.take():
                self._reroute(envelope)

    def _after_first_look(self) -> None:
        """Let a forked child, which has sent nothing yet, use the newest DSN only."""
        if self.heir is not None:
            self.hand_over_queue()

    def _reroute(self, envelope: Envelope) -> None:
        heir = self.heir
        if isinstance(envelope, TestItem):
            envelope.answered("swapped", None)
        elif is_report(envelope):  # of what its own project lost
            pass
        elif heir is None:
            self._drop(envelope)
        else:
            here().tally.rerouted += 1
            heir.capture_envelope(envelope)

    def _drop(self, envelope: Envelope) -> None:
        """Count as lost what was kept and can't be sent, as the SDK does at once."""
        here().tally.dropped += 1
        for item in envelope.items:
            self._line.wire.record_lost_event("network_error", item=item)

    def report(self) -> bool:
        """Tell what was lost; say whether there is something."""
        return self._line.report()

    def close(self) -> None:
        """End the sending thread once the queue is empty, and close connections."""
        line = self._line
        line.end()
        if not line.pending:
            line.join(1.0)
        line.wire.close()
        if not line.queue:  # what hangs now is not waited for
            self.stop_leaving()

    def stop_leaving(self) -> None:
        """Undo `announce_successor`: nobody waits for this outlet any more."""
        with contextlib.suppress(ValueError):
            _leaving.remove(self)

    # What the SDK asks of a transport

    def flush(
        self,
        timeout: float,
        callback: Callable[[int, float], None] | None = None,
    ) -> None:
        """Wait until all is sent, here and where outlets are leaving. Never raises."""
        try:
            self._flush(timeout, callback)
        except Exception:  # noqa: BLE001 - the application's exit must not fail for us
            fault("flushing")

    def _flush(
        self, timeout: float, callback: Callable[[int, float], None] | None
    ) -> None:
        deadline, line = clock.monotonic() + max(0.0, timeout), self._line
        if timeout > 0 and not line.settle(min(0.1, timeout)) and callback is not None:
            callback(line.pending, timeout)
        while clock.monotonic() < deadline:
            current = _current() or self
            older = dict.fromkeys((self, *_leaving))
            older.pop(current, None)
            for outlet in (*older, current):  # in the order in which envelopes move
                outlet._line.finish(deadline)  # noqa: SLF001
            if (_current() or self) is current:  # else a swap came between
                return

    def kill(self) -> None:
        """Let the sending thread end once its queue is empty."""
        self._line.end()

    def record_lost_event(self, *args: Any, **kwargs: Any) -> None:
        """Count a loss for the next client report; once retired, for the heir's."""
        heir = self.heir if self._retired else None
        (heir or self)._line.wire.record_lost_event(*args, **kwargs)  # noqa: SLF001

    def is_healthy(self) -> bool:
        """Say whether the SDK should keep its sampling rates."""
        return self._line.own < self._limit and self._line.wire.is_healthy()


def _current() -> Outlet | None:
    transport = sentry_sdk.get_global_scope().client.transport
    return transport if isinstance(transport, Outlet) else None


def _forget_leaving(_home: Home) -> None:
    """Nobody goes on with the parent's retirements: what comes here is the heir's."""
    for outlet in _leaving:
        outlet._retired = True  # noqa: SLF001
    _leaving.clear()


on_renewal(_forget_leaving)
