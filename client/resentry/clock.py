"""Time that goes on, whatever an application's tests do to the `time` module.

freezegun replaces every module's `time.monotonic`, and a loop until a deadline then never
ends. It leaves `clock_gettime` alone.
"""

from __future__ import annotations

import time


def monotonic() -> float:
    """Return seconds that never go back, from some moment on."""
    if hasattr(time, "clock_gettime"):
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()  # Windows
