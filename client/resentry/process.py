"""What belongs to one process, and its threads: `here()` returns it.

A fork copies locks that no thread of the child releases, queues that the parent sends,
descriptors that the parent uses. Not every fork runs Python's hooks: uWSGI's does not. So
whatever belongs to a process remembers the `Home` in which it was made, compares it with
`here()` at each use, and is made anew where they differ. The hooks of `forks.py` only make
that early.
"""

from __future__ import annotations

import _thread
import contextvars
import os
import secrets
import signal
import threading
import time
import types
from typing import TYPE_CHECKING, Any

from resentry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable


class Home:
    """One process: what is in it exists once, and never in a forked child."""

    def __init__(self, parent: Home | None = None) -> None:
        self.pid = os.getpid()
        self.id = secrets.token_hex(8)
        self.parent = parent.id if parent is not None else None
        self.starting = threading.RLock()
        """Held during `init`."""
        self.gate = threading.RLock()
        """Held while a client is built and made current."""
        self.making = threading.RLock()
        """Held for the moment in which a part of a client is made anew."""
        self.tally = Tally()
        self.looked = threading.Event()
        """Set once the volume was looked at: before, a child's envelopes wait."""
        self.looked.set()
        self.hurry = threading.Event()
        """Set when an envelope waits for that."""
        self.ensure: Callable[[bool], None] | None = None
        """Starts a thread that could not be started; called by one that could."""
        self.ends_at: float | None = None
        """When the interpreter ends, at the latest: until then a capture is waited for."""
        self.connecting = threading.Condition(threading.RLock())
        self.connections = 0
        """How many connections are being made."""
        self._next: dict[str, Home] = {}

    def successor(self) -> tuple[Home, bool]:
        """Return the home of the forked child that asks; true to one thread alone."""
        mine = Home(self)
        home = self._next.setdefault("child", mine)  # atomic, and needs no lock
        return home, home is mine


_home = Home()
_renewals: list[Callable[[Home], None]] = []


def here() -> Home:
    """Return the home of the calling process. Never waits."""
    home = _home
    return home if home.pid == os.getpid() else _renew(home)


def reborn() -> None:
    """Make the home of a child that was forked just now, before anybody asks for it."""
    _renew(_home)


def _renew(inherited: Home) -> Home:
    global _home  # noqa: PLW0603 - a process has one
    home, is_first = inherited.successor()
    _home = home
    for renewal in _renewals if is_first else ():
        try:
            renewal(home)
        except Exception:  # noqa: BLE001 - a fork must not fail for us
            home.tally.faults += 1
    return home


def on_renewal(renewal: Callable[[Home], None]) -> None:
    """Call `renewal` in each forked child, in the order of registration.

    It may run in the middle of a fork: it must not wait, log, or switch greenlets.
    """
    _renewals.append(renewal)


def has_green_threads() -> bool:
    """Whether something has replaced threads by greenlets: a lock may then switch."""
    return not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)


class _Own(threading.local):
    mask: set[signal.Signals | int] | None = None
    """The signal mask with which a thread that this one starts begins; None: ours."""


_own = _Own()


def block(number: int) -> None:
    """Block a signal in the calling thread, but not in those that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    if _own.mask is None:
        _own.mask = set(before)


def start_thread(
    name: str, target: Callable[..., None], *args: Any
) -> threading.Thread:
    """Start a daemon thread in an empty context.

    Else the SDK gives it the scopes of whoever happens to start it, and what we send
    becomes spans and breadcrumbs of that request. Raises RuntimeError where no thread
    can be started.
    """
    mask, home = _own.mask, here()

    def run() -> None:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _contain(target, *args)
        if home is not here():
            # A greenlet that went on in a forked child: there `threading` does not know
            # it, and would print a traceback at its end.
            threading.Event().wait()

    thread = threading.Thread(target=run, name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread


def start_later(target: Callable[[], None]) -> None:
    """Have it run in another thread, without waiting until that has started.

    `Thread.start` waits: 5 ms where the new thread does not let go of the interpreter,
    and under greenlets it lets others run, in the middle of a fork.
    """
    _thread.start_new_thread(_contain, (target,))


def _contain(target: Callable[..., None], *args: Any) -> None:
    """Let no error of ours end a thread: the SDK would send it as the application's."""
    try:
        target(*args)
    except Exception:  # noqa: BLE001 - as said
        from resentry.harmless import fault  # noqa: PLC0415 - which imports this

        fault("a thread")


def await_rest(tid: int | None) -> None:
    """Return when that thread sleeps, at most after 40 ms.

    The pauses leave it the interpreter: it sleeps in the kernel then, and does not wait
    for the interpreter's lock, which a fork without hooks would copy.
    """
    for _ in range(20):
        time.sleep(0.002)
        try:
            with open(f"/proc/self/task/{tid}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[0] == b"S":
                    return
        except (OSError, IndexError):  # no /proc: the pause has to do
            return
