"""The part of an outlet that belongs to one process: queue, thread and connections."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from resentry import clock
from resentry.harmless import fault
from resentry.parking import Parking
from resentry.process import here, start_thread
from resentry.sdk.items import TestItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

    from resentry.process import Home
    from resentry.sdk.wire import Wire

_FIRST_LOOK_SECONDS = 5.0
"""A forked child's envelopes wait at most this long for the first look at the volume."""
_ENSURE_SECONDS = 1.0
"""Pause between two attempts to start the follower's thread, if that has failed."""
_END_SECONDS = 2.0
"""At the very end of the process, a capture waits at most this long until it is sent."""


class Line:
    """Sends the envelopes of its queue, one after another, in its own thread.

    `deliver` sends an envelope. `drop` gets each envelope that was parked for too long. In
    a forked child `looked` is called after the first look at the volume and before the
    first envelope: it may hand the envelopes to another outlet.
    """

    def __init__(
        self,
        home: Home,
        wire: Wire,
        deliver: Callable[[Envelope], None],
        looked: Callable[[], None],
        drop: Callable[[Envelope], None],
    ) -> None:
        self.home = home
        self.wire = wire
        # Reentrant: the garbage collector may log, and so capture, at any bytecode.
        self.changed = threading.Condition(threading.RLock())
        self.queue: deque[Envelope] = deque()
        self.tests = 0
        """How many test items are in the queue."""
        self.parking = Parking(drop)
        self._drop = drop
        self.last_done = clock.monotonic()
        self._deliver = deliver
        self._looked = looked
        self._is_new = home.parent is not None
        self._is_sending = False
        self._is_ended = False
        self._thread: threading.Thread | None = None

    @property
    def own(self) -> int:
        """How many of the application's own envelopes are in the queue."""
        return len(self.queue) - self.tests

    @property
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        with self.changed:
            return len(self.queue) + self._is_sending

    def put(self, envelope: Envelope) -> None:
        """Queue an envelope. At the very end of the process, wait until it is sent."""
        with self.changed:
            self.queue.append(envelope)
            self.tests += isinstance(envelope, TestItem)
            self.changed.notify_all()
        ends_at = self.home.ends_at
        if ends_at is not None:
            self.settle(ends_at - clock.monotonic())
        elif self.start() is None:
            self.settle(_END_SECONDS)

    def start(self) -> bool | None:
        """Start the thread if needed; return whether it runs, `None` if it never will.

        If no thread can be started now, the next envelope tries again.
        """
        with self.changed:
            if self._thread is not None and self._thread.is_alive():
                return True
            try:
                self._thread = start_thread("resentry.outlet", self._run)
            except RuntimeError as error:
                # Since Python 3.12 no thread can be started when the process ends.
                return None if "shutdown" in str(error) else False
            return True

    def _run(self) -> None:
        at_once = True  # if this thread could be started, so can the follower's
        # A greenlet of the parent goes on in a forked child, but must not send there.
        while self.home is here():
            with self.changed:
                if not self.queue:
                    if self._is_ended:
                        self._thread = None
                        self.wire.close()
                        return
                    self.changed.wait(_ENSURE_SECONDS if self.home.ensure else None)
            ensure = self.home.ensure
            if ensure is not None:
                ensure(at_once)
            at_once = False
            if self.queue:
                self._send_next()

    def _send_next(self, seconds: float | None = None) -> None:
        """Send the first envelope of the queue, if there is one. Never raises.

        Takes at most `seconds`, or as long as the SDK allows.
        """
        if self._is_new or not self.home.looked.is_set():
            self._is_new = False
            self.home.hurry.set()
            self.home.looked.wait(
                min(_FIRST_LOOK_SECONDS, seconds or _FIRST_LOOK_SECONDS)
            )
            self._looked()
        with self.changed:
            if not self.queue or self._is_sending or self.home is not here():
                return
            envelope = self.queue.popleft()
            self.tests -= isinstance(envelope, TestItem)
            self._is_sending = True
        if seconds is not None:
            self.wire.hurry(seconds)
        try:
            self._deliver(envelope)
        except Exception:  # noqa: BLE001 - the next envelope must still be sent
            fault("sending")
        finally:
            if self.home is here():
                with self.changed:
                    self._is_sending = False
                    self.last_done = clock.monotonic()
                    self.changed.notify_all()

    def settle(self, seconds: float) -> bool:
        """Wait until all is sent or the time is over; return whether all is sent.

        If no thread can send, the caller's thread sends.
        """
        deadline = clock.monotonic() + seconds
        if not self.pending or seconds <= 0:
            return not self.pending
        if self.start() and not sys.is_finalizing():  # at the end threads stand still
            with self.changed:
                return self.changed.wait_for(lambda: not self.pending, seconds)
        while self.queue and not self._is_sending:
            left = deadline - clock.monotonic()
            if left <= 0:
                break
            self._send_next(left)
        return not self.pending

    def finish(self, deadline: float) -> None:
        """Send what is queued, then report what was lost."""
        self.settle(deadline - clock.monotonic())
        if self.home.ends_at is not None:  # no DSN comes after this one
            with self.changed:
                parked = self.parking.take()
            for envelope in parked:
                self._drop(envelope)
        if self.report():
            self.settle(deadline - clock.monotonic())

    def report(self) -> bool:
        """Queue a client report about losses; return whether there is one."""
        report = self.wire.report(force=True)
        if report is not None:
            self.put(report)
        return report is not None

    def take(self) -> list[Envelope]:
        """Return the envelopes whose sending has not begun, and empty the queue."""
        with self.changed:
            unsent = list(self.queue)
            self.queue.clear()
            self.tests = 0
            self.changed.notify_all()
        return unsent

    @property
    def is_over(self) -> bool:
        """Whether the thread ends now, because nothing is left to send."""
        return self._is_ended and not self.queue

    def end(self) -> None:
        """Let the thread end once the queue is empty."""
        with self.changed:
            self._is_ended = True
            self.changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the thread's end."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)
