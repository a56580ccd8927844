"""The thread of one process: it looks at the volume, and gives the process's receipt."""

from __future__ import annotations

# A swap may need it, as it needs `resentry.scrub`: imported by its own thread, a child that
# is forked meanwhile would inherit the import's lock.
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
from resentry.receipt import Identity, ReceiptFile
from resentry.swap import RETIRING_LOOK_SECONDS
from resentry.watch import LostError, Watch, watch

if TYPE_CHECKING:
    from resentry.reader import SharedDir
    from resentry.target import Target

LOOK_SECONDS = 1.0
FORK_SECONDS = 0.05
"""So long a forked child gives no receipt: it may be about to exec."""
_STOP_SECONDS = 1.0
"""So long the end of the thread is waited for: a log handler may hold it for ever."""
_RESTART_SECONDS = 1.0
_WAITS_SECONDS = 0.1
"""So long `init` waits at most until its thread has looked and given the receipt."""


class Follower:
    """Follows a volume in one process, until `stop` or a fork."""

    def __init__(self, target: Target, volume: SharedDir, signal: int | None) -> None:
        self._home = here()
        self._target = target
        self._volume = volume
        self._signal = signal
        self.identity = Identity(self._home)
        self._receipt = ReceiptFile(volume.receipts, self.identity)
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
        """What keeps the receipt from being given."""
        self.threads = Notice()
        """What keeps the thread from being started, told like the other one."""
        self._restarting = threading.Lock()
        self.failure: str | None = None
        """Why there is no thread."""

    @property
    def kind(self) -> str:
        """What shows a change: `inotify`, `stat`, or `none` before the first look.

        With `, greenlet` nothing is seen while the process lets no greenlet run.
        """
        own = self._watch
        kind = own.kind if own is not None else "none"
        return f"{kind}, greenlet" if self._is_greenlet else kind

    @property
    def signal(self) -> tuple[int | None, int | None]:
        """The signal and the thread that takes it; `None` twice where none does."""
        own = self._watch
        number = own.signal if own is not None else None
        return (None, None) if number is None else (number, self._tid)

    def _goes_on(self) -> bool:
        return not self._stopped and self._home is here()

    def start(self) -> None:
        """Begin; return when the thread waits, or soon.

        Whatever forks next without hooks finds no thread in the middle of something.
        """
        if has_green_threads():
            self._give()  # a greenlet may never run: a preloading master waits natively
        self._launch()
        if not has_green_threads() and self._waits.wait(_WAITS_SECONDS):
            await_rest(self._tid)

    def start_in_child(self) -> None:
        """Begin soon after a fork, or when something is captured. Waits for nothing."""
        self._home.looked.clear()
        self._silent_until = clock.monotonic() + FORK_SECONDS
        self._ended.clear()
        try:
            # Without a `Thread`: its start waits, and it would be a greenlet where the
            # application replaces threads after the fork.
            start_later(self._run_later)
        except RuntimeError as error:
            self._has_failed(error)

    def _run_later(self) -> None:
        self._home.hurry.wait(FORK_SECONDS)
        self._run()

    def _launch(self) -> None:
        if not self._goes_on():
            return
        if self.failure is not None:  # what was published meanwhile goes before
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
        self._home.looked.set()  # nobody will
        self._ended.set()

    def ensure(self, at_once: bool = False) -> None:  # noqa: FBT001, FBT002
        """Try again to begin, now and then or `at_once`, where that has failed."""
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
                pause = self._look()  # once also when stopped: something waits for it
                self._waits.set()
                if not self._goes_on():
                    break
                self._wait(pause)
        finally:
            self._close()
            self._ended.set()

    def _look(self) -> float:
        """Do what is due; return how long to wait for the next time. Never raises."""
        pause = LOOK_SECONDS
        try:
            if self._watch is None:  # first: then no change is missed
                self._watch = watch(self._volume.directory, self._signal)
            self._target.look()
            self._home.looked.set()
            if self._target.retire():
                pause = RETIRING_LOOK_SECONDS
            silent = self._silent_until - clock.monotonic()
            if silent > 0:
                return min(silent, pause)
            if self._goes_on():
                self._give()
        except Exception:  # noqa: BLE001 - the thread outlives every mistake of ours
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
        except LostError:  # made anew by the next look
            self._close()
        except Exception:  # noqa: BLE001 - whatever the application did to `select`
            fault("waiting")
        time.sleep(min(seconds, LOOK_SECONDS))

    def _close(self) -> None:
        own, self._watch = self._watch, None
        if own is not None:
            own.close()

    def wake(self) -> None:
        """Have it look now."""
        own = self._watch
        if own is not None:
            own.wake()

    def stop(self) -> None:
        """End the thread; one that is held up ends when it is free."""
        self._stopped, self._home.ensure = True, None
        self._home.hurry.set()
        self.wake()
        if self._home is here():
            self._ended.wait(_STOP_SECONDS)

    def withdraw(self) -> None:
        """Remove the receipt: this process is a target no more."""
        self._receipt.withdraw()

    def let_go(self) -> None:
        """Give the parent's descriptors back, in a forked child; its files stay."""
        self._close()
        self._receipt.forget()
