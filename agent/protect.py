"""Sets this process up: others cannot look into it, and freed memory is given back."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)
_M_MMAP_THRESHOLD = -3  # mallopt(3)
_LARGE_BYTES = 128 * 1024


def protect() -> None:
    """Hide this process's memory, environment and file system from its own user.

    It has a Vault token. This matters in a pod that shares PIDs: only root can then read
    /proc/PID/{environ,mem,root,fd}, and there are no core dumps. The library reads only
    /proc/PID/stat, which is not hidden.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def return_memory() -> None:
    """Have freed blocks above 128 KiB go back to the system at once.

    glibc raises this bound with each large block that is freed, up to 32 MiB. Each pass
    has a thread, and so an arena that keeps what one large answer needed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
