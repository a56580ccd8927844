"""Keeps other processes of the same user out of this process, which has a Vault token."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)


def protect() -> None:
    """Hide this process's memory, environment and file system from its own user.

    This matters in a pod that shares PIDs: only root can then read
    /proc/PID/{environ,mem,root,fd}, and there are no core dumps. The library reads only
    /proc/PID/stat, which is not hidden.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
