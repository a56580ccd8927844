"""Children of a script: forked with Python's hooks, as `os.fork` does, or without them.

uWSGI forks its workers without them unless told otherwise, as any C library does.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

# From Python 3.12 on a fork in a process with threads is one.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)

PATIENCE_SECONDS = 60.0
"""After this time a child is stuck: on a busy machine each of them takes a tenth."""


def fork_without_hooks() -> int:
    """Fork while no other thread waits for the interpreter's lock.

    A child of another moment could hang in that lock, whatever is imported there.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1)
    deadline, before = time.monotonic() + PATIENCE_SECONDS, None
    while time.monotonic() < deadline and (before is None or before != _switches()):
        before = _switches()
        time.sleep(0.02)
    pid = int(ctypes.PyDLL(None).fork())
    sys.setswitchinterval(interval)
    return pid


def _switches() -> list[str]:
    """Return how often each other thread has begun to run: those that rest do not.

    A thread that could run, but has no processor on a busy machine, does not rest.
    """
    found = []
    try:
        for tid in os.listdir("/proc/self/task"):
            if int(tid) != threading.get_native_id():
                with open(f"/proc/self/task/{tid}/status") as status:
                    lines = list(status)
                found += [line for line in lines if "ctxt_switches" in line]
                if not any(line.startswith("State:\tS") for line in lines):
                    found.append(f"{time.monotonic()}")
    except OSError:  # no descriptor is free, or a thread has ended this moment
        time.sleep(0.05)
    return found


FORKS = {"hooks": os.fork, "no hooks": fork_without_hooks}


class Child:
    """A forked process that does its `work`, then ends as a program does.

    Both sides of the conversation are here: the child calls `tell` and `wait`, the
    parent `heard` and `go`.
    """

    def __init__(self, fork: str, work: Callable[[Child], object]) -> None:
        heard, told = os.pipe()
        waits, goes = os.pipe()
        self.pid = FORKS[fork]()
        if self.pid:
            os.close(told)
            os.close(waits)
            self._in, self._out = heard, goes
            return
        os.close(heard)
        os.close(goes)
        self._in, self._out = waits, told
        work(self)
        sys.exit()

    def tell(self, **values: Any) -> None:
        """Let the parent know, in one write."""
        os.write(self._out, json.dumps(values).encode())

    def wait(self) -> None:
        """Return when the parent says so, or has ended."""
        os.read(self._in, 1)

    def heard(self) -> dict[str, Any]:
        """Return what the child tells next; empty if it has ended without a word."""
        if not select.select([self._in], [], [], PATIENCE_SECONDS)[0]:
            raise TimeoutError("the child says nothing")
        said = os.read(self._in, 65536)
        found: dict[str, Any] = json.loads(said) if said else {}
        return found

    def go(self) -> None:
        """Let the child go on."""
        os.write(self._out, b"!")

    def ended(self, deadline: float | None = None) -> int | str:
        """Return the child's exit code, or `stuck` where it does not end."""
        deadline = deadline or time.monotonic() + PATIENCE_SECONDS
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return "stuck"


def end_all(children: list[Child]) -> dict[str, int]:
    """Wait for all of them; return how many ended in which way."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    ends: dict[str, int] = {}
    for child in children:
        end = str(child.ended(deadline))
        ends[end] = ends.get(end, 0) + 1
    return ends


def receipt_of(pid: int) -> dict[str, Any] | None:
    """Return the receipt of one process, if it has given one."""
    for path in Path(os.environ["RESENTRY_DIR"], "receipts").glob("*.json"):
        try:
            found: dict[str, Any] = json.loads(path.read_bytes())
        except (OSError, ValueError):  # withdrawn this moment
            continue
        if found["pid"] == pid:
            return found
    return None


def own_receipt(sequence: int = 0) -> dict[str, Any]:
    """Wait for this process's receipt, with that snapshot if it is named."""

    def fits() -> dict[str, Any] | None:
        found = receipt_of(os.getpid())
        good = found and (not sequence or found["sequence"] == sequence)
        return found if good else None

    return eventually(
        fits, what=f"a receipt at {sequence}, not {receipt_of(os.getpid())}"
    )
