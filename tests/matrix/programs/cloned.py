"""A child that no library knows of: a bare system call makes it.

No hook runs, and the child closes every descriptor. Both processes report events until
SIGTERM.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import platform
import signal
import threading
import time

import sentry_sdk
from captures import capture, start

CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
PAUSE = 0.03
QUIET_SECONDS = 0.5
MOST_DESCRIPTORS = 4096


def work(name: str, stopped: threading.Event) -> None:
    for number in itertools.count():
        if stopped.wait(PAUSE):
            return
        capture(f"{name}-{number}")


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    start()
    capture("first")
    sentry_sdk.flush()
    # PyDLL keeps the interpreter's lock, so that the child owns it. A thread that waits
    # for the lock just then would break it for the child: all have time to fall asleep.
    time.sleep(QUIET_SECONDS)
    child = ctypes.PyDLL(None).syscall(CLONE, int(signal.SIGCHLD), 0, 0, 0, 0)
    if child == 0:
        os.closerange(0, MOST_DESCRIPTORS)
        work("child", stopped)
        return
    work("parent", stopped)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main()
