"""The `Home` of a process holds what belongs to that process. `here()` returns it.

A fork copies locks that no thread of the child releases, queues that the parent sends, and
descriptors that the parent uses. Not every fork runs Python's hooks: uWSGI's does not. So
whatever belongs to a process remembers the `Home` in which it was made and compares it with
`here()` at each use. If they differ, it is made anew. The hooks of `forks.py` do this
earlier, but nothing depends on them.
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

from resentry.answers import Answers
from resentry.sampled import Sampled
from resentry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable


class Home:
    """What belongs to one process. A forked child gets a `Home` of its own."""

    def __init__(self, parent: Home | None = None) -> None:
        self.pid = os.getpid()
        self.id = secrets.token_hex(8)
        self.parent = parent.id if parent is not None else None
        self.starting = threading.RLock()
        """Held during `init`."""
        self.gate = threading.RLock()
        """Held while a client is built and made current."""
        self.making = threading.RLock()
        """Held while a part of a client is made anew."""
        self.tally = Tally()
        self.answers = Answers()
        self.sampled = Sampled()
        self.looked = threading.Event()
        """Set after the first look at the volume. A child's envelopes wait for it."""
        self.looked.set()
        self.hurry = threading.Event()
        """Set when an envelope waits for the first look."""
        self.ensure: Callable[[bool], None] | None = None
        """Tries again to start the follower's thread; a running thread calls it."""
        self.ends_at: float | None = None
        """Latest end of the interpreter. Until then a capture waits until it is sent."""
        self.connecting = threading.Condition(threading.RLock())
        self.connections = 0
        """How many connections are being made."""
        self._next: dict[str, Home] = {}

    def successor(self) -> tuple[Home, bool]:
        """Return the home of a forked child; true for only one of the child's threads."""
        mine = Home(self)
        home = self._next.setdefault("child", mine)  # atomic, so no lock is needed
        return home, home is mine


_home = Home()
_renewals: list[Callable[[Home], None]] = []


def here() -> Home:
    """Return the home of the calling process. Never waits."""
    home = _home
    return home if home.pid == os.getpid() else _renew(home)


def reborn() -> None:
    """Make the home of a child that was just forked, before anything asks for it."""
    _renew(_home)


def _renew(inherited: Home) -> Home:
    global _home  # noqa: PLW0603 - a process has one
    home, is_first = inherited.successor()
    _home = home
    for renewal in _renewals if is_first else ():
        try:
            renewal(home)
        except Exception:  # noqa: BLE001 - our errors must not fail a fork
            home.tally.faults += 1
    return home


def on_renewal(renewal: Callable[[Home], None]) -> None:
    """Call `renewal` in each forked child, in the order of registration.

    `renewal` may run during a fork: it must not wait, log, or switch greenlets.
    """
    _renewals.append(renewal)


def has_green_threads() -> bool:
    """Whether threads are greenlets here. Taking a lock may then run another one."""
    return not isinstance(_thread.start_new_thread, types.BuiltinFunctionType)


class _Own(threading.local):
    mask: set[signal.Signals | int] | None = None
    """Signal mask for threads that this thread starts; None: the mask of this thread."""


_own = _Own()


def block(number: int) -> None:
    """Block a signal in the calling thread, but not in threads that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    if _own.mask is None:
        _own.mask = set(before)


def start_thread(
    name: str, target: Callable[..., None], *args: Any
) -> threading.Thread:
    """Start a daemon thread in an empty context.

    In the caller's context, the SDK would add what the thread sends to the caller's
    request, as spans and breadcrumbs. Raises RuntimeError if no thread can be started.
    """
    mask, home = _own.mask, here()

    def run() -> None:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        _contain(target, *args)
        if home is not here():
            # A greenlet that goes on in a forked child. `threading` does not know the
            # greenlet there, and would print a traceback when it ends. So it never ends.
            threading.Event().wait()

    thread = threading.Thread(target=run, name=name, daemon=True)
    contextvars.Context().run(thread.start)
    return thread


def start_later(target: Callable[[], None]) -> None:
    """Run `target` in another thread, without waiting for the start of the thread.

    `Thread.start` waits up to 5 ms if the new thread keeps the interpreter. Under
    greenlets it lets others run, even during a fork.
    """
    _thread.start_new_thread(_contain, (target,))


def _contain(target: Callable[..., None], *args: Any) -> None:
    """Catch our errors in a thread: the SDK would report them as the application's."""
    try:
        target(*args)
    except Exception:  # noqa: BLE001 - as said
        from resentry.harmless import fault  # noqa: PLC0415 - which imports this

        fault("a thread")


def await_rest(tid: int | None) -> None:
    """Return when the thread sleeps in the kernel, or after 40 ms.

    The pauses here let the thread have the interpreter. A sleeping thread does not wait
    for the interpreter's lock, which a fork without hooks would copy.
    """
    for _ in range(20):
        time.sleep(0.002)
        try:
            with open(f"/proc/self/task/{tid}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[0] == b"S":
                    return
        except (OSError, IndexError):  # no /proc: the pause must be enough
            return
