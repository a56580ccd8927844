"""The real-time signal: only to a process that asked for it, and is still that one."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Literal

from agent.domain.backoff import backoff_seconds
from resentry.receipt import start_time

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from agent.domain.rollout import Target

Result = Literal["sent", "not registered", "out of reach", "not permitted", "gone"]


class Signals:
    """Signals targets in the agent's own PID namespace."""

    def __init__(self) -> None:
        self._pidns = os.stat("/proc/self/ns/pid").st_ino
        self._barred: set[str] = set()

    def notify(self, targets: Iterable[Target]) -> dict[str, Result]:
        """Tell each target to look; return by id what came of it.

        Watching the volume makes this optional, so nothing here is an error.
        """
        return {target.receipt.id: self._notify(target) for target in targets}

    def _notify(self, target: Target) -> Result:
        receipt = target.receipt
        number = receipt.signal
        if number is None or not signal.SIGRTMIN <= number <= signal.SIGRTMAX:
            return "not registered"
        if receipt.pidns != self._pidns:
            return "out of reach"
        if receipt.id in self._barred:
            return "not permitted"
        try:
            return "sent" if _send(target, number) else "gone"
        except PermissionError:
            self._barred.add(receipt.id)
            return "not permitted"
        except (OSError, OverflowError):  # a forged pid may be no pid at all
            return "gone"


class Reminders:
    """When targets that still wait are signalled once more.

    1, 2, 4 ... 60 s after the last time, and from the start with every new snapshot.
    """

    CAP_SECONDS = 60.0

    def __init__(self, pause: Callable[[int, float], float] = backoff_seconds) -> None:
        self._pause = pause
        self._snapshot: Hashable = None
        self._sent = 0
        self._next_at = 0.0

    def is_due(self, snapshot: Hashable, now: float | None = None) -> bool:
        """Say whether it is time, and count on its being done then."""
        now = time.monotonic() if now is None else now
        is_new = snapshot != self._snapshot
        if not is_new and now < self._next_at:
            return False
        self._snapshot = snapshot
        self._sent = 1 if is_new else self._sent + 1
        self._next_at = now + self._pause(self._sent, self.CAP_SECONDS)
        return not is_new


def _send(target: Target, number: int) -> bool:
    """Signal the process, if it is still the one that asked for it."""
    handle = os.pidfd_open(target.receipt.pid)
    try:
        # Last, and through the pidfd: the pid cannot become another process now.
        if not _is_willing(target, number):
            return False
        signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
    return True


def _is_willing(target: Target, number: int) -> bool:
    """Whether the process is the one of the receipt, and has a handler.

    Without one the signal's default action would end it.
    """
    proc = f"/proc/{target.receipt.pid}"
    started = start_time(target.receipt.pid)
    if started != target.receipt.start_time or os.stat(proc).st_uid != target.uid:
        return False
    with open(f"{proc}/status", encoding="utf-8", errors="replace") as status:
        for line in status:
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False
