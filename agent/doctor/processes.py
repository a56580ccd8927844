"""What the kernel tells of a process in this PID namespace."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agent.locks import holder_of

if TYPE_CHECKING:
    from agent.doctor.facts import Facts
    from resentry.contract import Receipt


def stopped_pid(receipt: Receipt) -> int:
    """Return the pid of a process that a signal has stopped; else 0."""
    try:
        is_here = os.stat("/proc/self/ns/pid").st_ino == receipt.pidns
    except OSError:
        return 0
    return receipt.pid if is_here and is_stopped(receipt.pid) else 0


def stopped_holder(directory: str, lock: str) -> int:
    """Return the pid of the stopped process that holds a lock; else 0.

    This process must not hold the lock: it would lose it.
    """
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        pid = holder_of(folder, lock)
    finally:
        os.close(folder)
    return pid if pid and is_stopped(pid) else 0


def is_stopped(pid: int) -> bool:
    """Whether a signal has stopped the process; false if that cannot be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["T"]


def in_kubernetes(facts: Facts) -> bool:
    """Whether this runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in facts.environ
