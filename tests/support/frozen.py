"""A clock that stands still, as tests of applications have it."""

from __future__ import annotations

import itertools
import os

# These have taken their clock by then; they could not wait with a frozen one.
import queue  # noqa: F401
import selectors  # noqa: F401
import threading  # noqa: F401
import time

clock = time.perf_counter
"""The real one."""

_CLOCKS = ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns")


def freeze() -> None:
    """Freeze the clock for good: by hand, or with freezegun if FREEZE says so."""
    if os.environ.get("FREEZE") == "freezegun":
        import freezegun  # noqa: PLC0415 - not where the clock is frozen by hand

        freezegun.freeze_time("2026-11-24T06:00:00Z").start()
        return
    for name in _CLOCKS:
        now = getattr(time, name)()
        setattr(time, name, itertools.repeat(now).__next__)
