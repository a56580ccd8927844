"""The hooks around a fork. They save waiting later; nothing depends on them.

    before      waits up to 0.1 s for a client or a connection that is being made
    in parent   goes on
    in child    makes the child's `Home`, and then lets go, in this order, of the parent's
                watch and lock (which frees descriptors), its connections, the SDK's locks

If threads are greenlets, the hooks do not wait: waiting would let others run, here and in
the child.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from resentry import clock
from resentry.process import Home, has_green_threads, here, reborn

WAIT_SECONDS = 0.1


class _Held(threading.local):
    """What this thread holds during a fork."""

    home: Home | None = None
    gate: Any = None
    connecting = False


_held = _Held()


def _before() -> None:
    """Never raises: an error in a hook would be printed and sent as the application's."""
    try:
        _wait()
    except Exception:  # noqa: BLE001 - nothing depends on the hooks
        here().tally.faults += 1


def _wait() -> None:
    if has_green_threads():
        return
    home, until = here(), clock.monotonic() + WAIT_SECONDS
    _held.home = home
    gate = home.gate
    _held.gate = gate if gate.acquire(timeout=WAIT_SECONDS) else None
    left = max(0.0, until - clock.monotonic())
    _held.connecting = home.connecting.acquire(timeout=left)
    if _held.connecting and home.connections:
        left = max(0.0, until - clock.monotonic())
        home.connecting.wait_for(lambda: not home.connections, left)


def _in_parent() -> None:
    try:
        _let_go()
    except Exception:  # noqa: BLE001 - as before
        here().tally.faults += 1


def _let_go() -> None:
    home, _held.home = _held.home, None
    if home is None:
        return
    if _held.connecting:
        home.connecting.release()
    if _held.gate is not None:
        _held.gate.release()


def _in_child() -> None:
    _held.home = None
    reborn()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_in_parent, after_in_child=_in_child
    )
