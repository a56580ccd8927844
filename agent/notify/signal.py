"""Sends the real-time signal, only to a thread that has registered and waits for it."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from agent.backoff import backoff_seconds
from resentry.receipt_file import start_time

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from agent.domain.rollout import LiveTarget
    from resentry.contract import Snapshot

    Way = Callable[[LiveTarget, int, int], bool]
    """Sends a signal to a target's thread. Returns false if the thread does not wait."""

Result = Literal["sent", "not registered", "out of reach", "not permitted", "gone"]

PIDFD_THREAD = os.O_EXCL
"""The flag for a pidfd of one thread, since Linux 6.9."""
_SYS_TGKILL = {"x86_64": 234, "aarch64": 131}


class Signals:
    """Sends signals to threads of targets in the agent's own PID namespace."""

    def __init__(self, *, is_on: bool = True) -> None:
        self._pidns = _pid_namespace()
        self._way = _find_way() if is_on else None
        self._barred: set[str] = set()

    def notify(self, targets: Iterable[LiveTarget]) -> dict[str, Result]:
        """Signal each target to look at the volume. Return the result by id.

        A signal is optional, because each target also watches the volume. So no result
        is an error.
        """
        return {target.receipt.id: self._notify(target) for target in targets}

    def _notify(self, target: LiveTarget) -> Result:
        receipt = target.receipt
        number, tid = receipt.signal, receipt.tid
        lowest, highest = signal.SIGRTMIN, signal.SIGRTMAX
        if number is None or tid is None or not lowest <= number <= highest:
            return "not registered"
        if self._way is None or self._pidns is None or receipt.pidns != self._pidns:
            return "out of reach"
        if receipt.id in self._barred:
            return "not permitted"
        try:
            return "sent" if self._way(target, tid, number) else "gone"
        except PermissionError:
            self._barred.add(receipt.id)
            return "not permitted"
        except (OSError, OverflowError):  # a forged receipt may name any number
            return "gone"


class Reminders:
    """Repeats the signal to targets that do not run the current snapshot yet.

    The pauses are 1, 2, 4 ... 60 s. They start anew with each snapshot.
    """

    CAP_SECONDS = 60.0

    def __init__(
        self,
        signals: Signals,
        pause: Callable[[int, float], float] = backoff_seconds,
    ) -> None:
        self._signals = signals
        self._pause = pause
        self._snapshot: Hashable = None
        self._sent = 0
        self._next_at = 0.0

    def remind(self, current: Snapshot | None, late: Sequence[LiveTarget]) -> None:
        """Signal these targets if a reminder of the current snapshot is due."""
        if current is None or not late:
            return
        if self.is_due((current.revision, current.sequence)):
            self._signals.notify(late)

    def is_due(self, snapshot: Hashable, now: float | None = None) -> bool:
        """Return true if a reminder is due now, and plan the next one."""
        now = time.monotonic() if now is None else now
        is_new = snapshot != self._snapshot
        if not is_new and now < self._next_at:
            return False
        self._snapshot = snapshot
        self._sent = 1 if is_new else self._sent + 1
        self._next_at = now + self._pause(self._sent, self.CAP_SECONDS)
        return not is_new


def _find_way() -> Way | None:
    """Return the best way that the kernel and the C library offer, or `None`."""
    try:
        os.close(os.pidfd_open(os.getpid(), PIDFD_THREAD))
    except OSError:
        return _tgkill()
    return _send_by_pidfd


def _send_by_pidfd(target: LiveTarget, tid: int, number: int) -> bool:
    handle = os.pidfd_open(tid, PIDFD_THREAD)
    try:
        # The pidfd keeps naming this thread, even if its number is used again.
        if not _waits(target, tid, number):
            return False
        signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
    return True


def _tgkill() -> Way | None:
    """Send by the C library's function (glibc 2.30), else by the system call."""
    try:
        libc: Any = ctypes.CDLL(None, use_errno=True)
    except OSError:
        return None
    call = getattr(libc, "tgkill", None)
    if call is None:
        machine = os.uname().machine if struct.calcsize("P") == 8 else ""
        if machine not in _SYS_TGKILL or not hasattr(libc, "syscall"):
            return None
        call = partial(libc.syscall, _SYS_TGKILL[machine])

    def send(target: LiveTarget, tid: int, number: int) -> bool:
        if not _waits(target, tid, number):
            return False
        if call(target.receipt.pid, tid, number) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return True

    return send


def _waits(target: LiveTarget, tid: int, number: int) -> bool:
    """Return true if this is the receipt's process, and its thread blocks the signal.

    A thread that does not block the signal would run a handler of the application, or
    end its process. So this check comes last, right before sending.
    """
    receipt, proc = target.receipt, f"/proc/{target.receipt.pid}"
    started = start_time(receipt.pid)
    if started != receipt.start_time or os.stat(proc).st_uid != target.uid:
        return False
    # This path exists only if the thread belongs to the process.
    status = f"{proc}/task/{tid}/status"
    with open(status, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("SigBlk:"):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def _pid_namespace() -> int | None:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # the namespaces cannot be compared, so nobody is signalled
        return None
