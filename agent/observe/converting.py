"""Converts plain values to typed ones, in one thread at a time.

msgspec 0.22 crashes if two threads use a type for the first time at once: both build what it
knows of the type. Here HTTP answers are made in threads.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
_one_at_a_time = threading.Lock()


def convert(value: Any, kind: type[T]) -> T:
    """Return the value as an instance of `kind`, or raise `msgspec.ValidationError`."""
    with _one_at_a_time:
        return msgspec.convert(value, kind)
