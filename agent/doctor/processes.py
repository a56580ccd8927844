"""What the kernel tells of a process in this PID namespace."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.locks import is_stopped

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


def in_kubernetes(facts: Facts) -> bool:
    """Whether this runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in facts.environ
