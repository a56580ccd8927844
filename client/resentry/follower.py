"""The thread that looks at the volume, runs new snapshots and writes the receipt."""

from __future__ import annotations

# A swap needs this module and `resentry.scrub`. They are imported here, because a child that
# is forked while the thread imports a module would inherit the import's lock.
import encodings.idna  # noqa: F401
import threading
import time
from typing import TYPE_CHECKING

from resentry import clock, scrub  # noqa: F401 - see above
from resentry.advice import explain
from resentry.harmless import Notice, fault
from resentry.process import (
    await_rest,
    has_green_threads,
    here,
    start_later,
    start_thread,
)
from resentry.receipt_file import Identity, ReceiptFile
from resentry.swap import RETIRING_LOOK_SECONDS
from resentry.verify import Verifier
from resentry.watch import LostError, Watch, open_watch

if TYPE_CHECKING:
    from resentry.reader import SharedDir
    from resentry.target import Target

LOOK_SECONDS = 1.0
FORK_SECONDS = 0.05
"""A forked child gives no receipt for this long: it may be about to exec."""
_STOP_SECONDS = 1.0
"""`stop` waits this long for the end of the thread: a log handler may block it."""
_RESTART_SECONDS = 1.0
_WAITS_SECONDS = 0.1
"""`init` waits at most this long until its thread has looked and given the receipt."""


class Follower:
    """Follows a volume in one process, until `stop` or a fork."""

    def __init__(self, target: Target, volume: SharedDir, signal: int | None) -> None:
        self._home = here()
        self._target = target
        self._volume = volume
        self._signal = signal
        self.identity = Identity(self._home)
        self._receipt = ReceiptFile(volume.receipts, self.identity)
        plan = target.plan
        self.verifier = Verifier(volume.directory, plan.role, plan.environ, self.wake)
        self._ended = threading.Event()
        self._ended.set()
        self._waits = threading.Event()
        self._is_greenlet = has_green_threads()
        self._watch: Watch | None = None
        self._tid: int | None = None
        self._stopped = False
        self._again_at = 0.0
        self._silent_until = 0.0
        self.receipts = Notice()
        """Why the receipt cannot be given."""
        self.threads = Notice()
        """Why the thread cannot be started."""
        self._restarting = threading.Lock()
        self.failure: str | None = None
        """Why there is no thread, or None."""

    @property
    def kind(self) -> str:
        """How this process notices a change: `inotify`, `stat`, or `none` before it looks.

        With `, greenlet` it notices nothing while the process lets no greenlet run.
        """
        own = self._watch
        kind = own.kind if own is not None else "none"
        return f"{kind}, greenlet" if self._is_greenlet else kind

    @property
    def signal(self) -> tuple[int | None, int | None]:
        """The signal and the thread that takes it, or `None` twice."""
        own = self._watch
        number = own.signal if own is not None else None
        return (None, None) if number is None else (number, self._tid)

    def _goes_on(self) -> bool:
        return not self._stopped and self._home is here()

    def start(self) -> None:
        """Start the thread; return when it waits for a change, or after 0.1 s.

        A fork without hooks right after `init` then finds the thread at rest.
        """
        if has_green_threads():
            self._give()  # a preloading master may never let a greenlet run
        self._launch()
        if not has_green_threads() and self._waits.wait(_WAITS_SECONDS):
            await_rest(self._tid)

    def start_in_child(self) -> None:
        """Start soon after a fork, or at the first capture. Does not wait."""
        self._home.looked.clear()
        self._silent_until = clock.monotonic() + FORK_SECONDS
        self._ended.clear()
        try:
            # Not a `Thread`: its start waits. And it would be a greenlet if the
            # application replaces threads by greenlets after the fork.
            start_later(self._run_later)
        except RuntimeError as error:
            self._has_failed(error)

    def _run_later(self) -> None:
        self._home.hurry.wait(FORK_SECONDS)
        self._run()

    def _launch(self) -> None:
        if not self._goes_on():
            return
        if self.failure is not None:  # look for a newer snapshot before sending
            self._home.looked.clear()
        self._ended.clear()
        try:
            start_thread("resentry", self._run)
        except RuntimeError as error:
            self._has_failed(error)
        else:
            self.failure = self._home.ensure = None

    def _has_failed(self, error: RuntimeError) -> None:
        self.failure = f"{error}: no snapshot is followed until a thread can be started"
        self._again_at = clock.monotonic() + _RESTART_SECONDS
        self._home.ensure = self.ensure
        self._home.looked.set()  # no thread will look, so envelopes need not wait
        self._ended.set()

    def ensure(self, at_once: bool = False) -> None:  # noqa: FBT001, FBT002
        """Try again to start the thread, each second or `at_once`, if that has failed."""
        if not self._restarting.acquire(blocking=False):
            return
        try:
            is_due = at_once or clock.monotonic() >= self._again_at
            if self.failure is not None and is_due:
                self._again_at = clock.monotonic() + _RESTART_SECONDS
                self._launch()
            self.threads.note(self.failure)
        finally:
            self._restarting.release()

    def _run(self) -> None:
        self._tid = threading.get_native_id()
        try:
            while self._home is here():
                pause = self._look()  # even when stopped: an envelope may wait for it
                self._waits.set()
                if not self._goes_on():
                    break
                self._wait(pause)
        finally:
            self._close()
            self._ended.set()

    def _look(self) -> float:
        """Do what is due; return how long to wait until the next look. Never raises."""
        pause = LOOK_SECONDS
        try:
            if self._watch is None:  # opened before the look, so no change is missed
                self._watch = open_watch(self._volume.directory, self._signal)
            is_new = self._target.look()
            self._home.looked.set()
            if is_new and clock.monotonic() >= self._silent_until and self._goes_on():
                self._give()  # the agent waits for this, and for nothing below
            if self._target.retire():
                pause = RETIRING_LOOK_SECONDS
            running = self._target.running
            client = running.client if running is not None else None
            self.verifier.look(client, is_foreign=self._target.is_foreign)
            silent = self._silent_until - clock.monotonic()
            if silent > 0:
                return min(silent, pause)
            if self._goes_on():
                self._give()
        except Exception:  # noqa: BLE001 - our bugs must not end the thread
            fault("looking at the volume")
        self._home.looked.set()
        return pause

    def _give(self) -> None:
        try:
            self._receipt.give(self._target.receipt())
        except OSError as error:  # the next look tries again
            problem: str | None = explain(
                "can't give a receipt in", self._volume.receipts, error
            )
        else:
            problem = None
        self.receipts.note(problem)

    def _wait(self, seconds: float) -> None:
        if not self._goes_on():
            return
        try:
            if self._watch is not None:
                self._watch.wait(seconds)
                return
        except LostError:  # the next look opens another watch
            self._close()
        except Exception:  # noqa: BLE001 - whatever the application did to `select`
            fault("waiting")
        time.sleep(min(seconds, LOOK_SECONDS))

    def _close(self) -> None:
        own, self._watch = self._watch, None
        if own is not None:
            own.close()

    def wake(self) -> None:
        """Let the thread look now."""
        own = self._watch
        if own is not None:
            own.wake()

    def stop(self) -> None:
        """End the thread. A blocked thread ends when it is free again."""
        self._stopped, self._home.ensure = True, None
        self._home.hurry.set()
        self.wake()
        if self._home is here():
            self._ended.wait(_STOP_SECONDS)

    def withdraw(self) -> None:
        """Remove the receipt: this process is no longer a target."""
        self._receipt.withdraw()

    def let_go(self) -> None:
        """Close the parent's descriptors in a forked child; the parent's files stay."""
        self._close()
        self._receipt.forget()
