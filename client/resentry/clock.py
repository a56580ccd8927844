"""A clock that keeps running when an application's tests freeze the `time` module.

freezegun replaces `time.monotonic` in every module, and then a loop with a deadline never
ends. freezegun does not replace `clock_gettime`.
"""

from __future__ import annotations

import time


def monotonic() -> float:
    """Return seconds since an arbitrary moment; they never go back."""
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()  # Windows
