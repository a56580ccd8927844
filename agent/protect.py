"""Sets this process up: others cannot look into it, and freed memory is given back."""

from __future__ import annotations

import ctypes
import sys

_PR_SET_DUMPABLE = 4  # prctl(2)
_M_MMAP_THRESHOLD = -3  # mallopt(3)
_M_ARENA_MAX = -8
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
    """Have freed memory go back to the system, or to whoever asks next.

    glibc raises the size from which a freed block goes back at once with each large block that
    is freed, up to 32 MiB: here it stays at 128 KiB. Smaller blocks are kept, and glibc keeps
    them for each thread apart. Each pass and each request has a thread: so all share one heap,
    or the process grows as long as the threads' turns differ.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 1)
