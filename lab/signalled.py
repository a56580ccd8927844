"""A thread that takes a real-time signal as the library's own does: by a signalfd."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SET_BYTES = 128
_SIGNALFD_SIGINFO_BYTES = 128
_libc = ctypes.CDLL(None, use_errno=True)


def hear(number: int, heard: Callable[[], object]) -> int:
    """Start the thread; return its id once it blocks the signal.

    It calls `heard` for each signal, until that raises `StopIteration`.
    """
    found: list[int] = []
    is_ready = threading.Event()

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        reader = _signalfd(number)
        found.append(threading.get_native_id())
        is_ready.set()
        while os.read(reader, _SIGNALFD_SIGINFO_BYTES):
            try:
                heard()
            except StopIteration:
                return

    threading.Thread(target=run, daemon=True).start()
    is_ready.wait()
    return found[0]


def _signalfd(number: int) -> int:
    signals = ctypes.create_string_buffer(_SET_BYTES)
    _libc.sigemptyset(signals)
    _libc.sigaddset(signals, number)
    descriptor: int = _libc.signalfd(-1, signals, os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return descriptor
