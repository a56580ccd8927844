"""Keeps other processes of the same user out of this one, which holds a Vault token."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def protect() -> None:
    """Hide this process's memory, environment and file system from its own user.

    Matters where a pod shares PIDs: /proc/PID/{environ,mem,root,fd} are then root's
    alone, and there are no core dumps. What the library reads, `stat`, is not hidden.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
