"""The half of an outlet that belongs to one process: queue, thread, connections."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import TYPE_CHECKING

from resentry import clock
from resentry.harmless import fault
from resentry.parking import Parking
from resentry.process import here, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentry_sdk.envelope import Envelope

    from resentry.process import Home
    from resentry.sdk.wire import Wire

_LOOK_SECONDS = 5.0
"""So long at most a forked child's envelopes wait for the first look at the volume."""
_ENSURE_SECONDS = 1.0
"""While the library's other thread could not be started, it is tried so often."""
_END_SECONDS = 2.0
"""So long at most whoever captures at the very end waits for it to be sent."""


class Line:
    """Sends what is put into its queue, one after the other, in a thread of its own.

    `deliver` is called for each, `drop` for each that was parked for too long. In a forked child `looked` is called before the first,
    once the volume was looked at: what it says may send the envelopes elsewhere.
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
    def pending(self) -> int:
        """How many envelopes are queued or being sent."""
        with self.changed:
            return len(self.queue) + self._is_sending

    def put(self, envelope: Envelope) -> None:
        """Queue it. At the very end of the process, return when it is sent."""
        with self.changed:
            self.queue.append(envelope)
            self.changed.notify_all()
        ends_at = self.home.ends_at
        if ends_at is not None:
            self.settle(ends_at - clock.monotonic())
        elif self.start() is None:
            self.settle(_END_SECONDS)

    def start(self) -> bool | None:
        """Say whether the thread runs; `None` if none will any more.

        Where there is no room for a thread now, the next envelope asks again.
        """
        with self.changed:
            if self._thread is not None and self._thread.is_alive():
                return True
            try:
                self._thread = start_thread("resentry.outlet", self._run)
            except RuntimeError as error:
                # From Python 3.12 on no thread starts any more when the process ends.
                return None if "shutdown" in str(error) else False
            return True

    def _run(self) -> None:
        at_once = True  # where this thread could start, so can another
        # A greenlet of the parent goes on in a forked child: it must not send.
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
        """Send what is first in the queue, if there is something. Never raises.

        It takes at most so many `seconds`, or as long as the SDK allows.
        """
        if self._is_new or not self.home.looked.is_set():
            self._is_new = False
            self.home.hurry.set()
            self.home.looked.wait(min(_LOOK_SECONDS, seconds or _LOOK_SECONDS))
            self._looked()
        with self.changed:
            if not self.queue or self._is_sending or self.home is not here():
                return
            envelope = self.queue.popleft()
            self._is_sending = True
        if seconds is not None:
            self.wire.hurry(seconds)
        try:
            self._deliver(envelope)
        except Exception:  # noqa: BLE001 - the next envelope is worth as much
            fault("sending")
        finally:
            if self.home is here():
                with self.changed:
                    self._is_sending = False
                    self.last_done = clock.monotonic()
                    self.changed.notify_all()

    def settle(self, seconds: float) -> bool:
        """Return when all is sent, or the time is over; say whether it is.

        Where no thread can send, the caller does.
        """
        deadline = clock.monotonic() + seconds
        if not self.pending or seconds <= 0:
            return not self.pending
        if self.start() and not sys.is_finalizing():  # then threads stand still
            with self.changed:
                return self.changed.wait_for(lambda: not self.pending, seconds)
        while self.queue and not self._is_sending:
            left = deadline - clock.monotonic()
            if left <= 0:
                break
            self._send_next(left)
        return not self.pending

    def finish(self, deadline: float) -> None:
        """Send what is queued, then tell what was lost of it."""
        self.settle(deadline - clock.monotonic())
        if self.home.ends_at is not None:  # no DSN comes after this one
            with self.changed:
                parked = self.parking.take()
            for envelope in parked:
                self._drop(envelope)
        if self.report():
            self.settle(deadline - clock.monotonic())

    def report(self) -> bool:
        """Queue what is to be told of losses; say whether there is something."""
        report = self.wire.report(force=True)
        if report is not None:
            self.put(report)
        return report is not None

    def take(self) -> list[Envelope]:
        """Take back what was not started."""
        with self.changed:
            left = list(self.queue)
            self.queue.clear()
            self.changed.notify_all()
        return left

    @property
    def is_over(self) -> bool:
        """Whether the thread ends now: nothing is left for it."""
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
