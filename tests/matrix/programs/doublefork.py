"""Forks twice while another thread builds a client, again and again until SIGTERM.

A grandchild starts Sentry anew where its parent was still starting it, reports one event
and ends. The exit code is 1 when a grandchild did not end by itself.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import threading
import time
from typing import Any

import sentry_sdk

# The SDK imports it with its first client. A module that another thread imports during a
# fork stays locked in the child: that is Python's, and no library's to mend.
import sentry_sdk.spotlight
from captures import capture, start
from sentry_sdk.integrations import Integration

from resentry.outlet import Outlet

PR_SET_CHILD_SUBREAPER = 36
SECONDS = 0.05
"""How long it takes to build a client."""
FLUSH_SECONDS = 8.0
STUCK_SECONDS = 15.0
AT_ONCE = 4

building = threading.Event()


class Slow(Integration):
    """Takes its time while the SDK holds its lock, in the first client of a process."""

    identifier = "slow"

    @staticmethod
    def setup_once() -> None:
        building.set()
        time.sleep(SECONDS)


def slow_down() -> None:
    """Let every client take its time."""
    build = Outlet.__init__

    def slow(outlet: Any, options: Any) -> None:
        building.set()
        time.sleep(SECONDS)
        build(outlet, options)
        building.clear()

    Outlet.__init__ = slow  # type: ignore[method-assign, assignment]


def work(stopped: threading.Event) -> None:
    for number in itertools.count():
        if stopped.wait(SECONDS):
            return
        capture(f"parent-{number}")


class Grandchildren:
    """Orphans, which come to this process: those that do not end are killed."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._born: dict[int, float] = {}
        self.stuck = 0

    def fork(self, item: str, *, again: bool) -> None:
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            if grandchild:
                os.write(told, str(grandchild).encode())
                os._exit(0)
            try:
                if again:
                    start("api", Slow())
                capture(item)
                sentry_sdk.flush(FLUSH_SECONDS)
            finally:
                os._exit(0)
        os.close(told)
        os.waitpid(child, 0)
        self._born[int(os.read(heard, 32))] = time.monotonic()
        os.close(heard)

    def reap(self, leave: int) -> None:
        """Return when at most so many are under way."""
        while len(self._born) > leave:
            for pid, born in list(self._born.items()):
                is_stuck = time.monotonic() - born > STUCK_SECONDS
                if is_stuck:
                    os.kill(pid, signal.SIGKILL)
                    self.stuck += 1
                if os.waitpid(pid, 0 if is_stuck else os.WNOHANG)[0]:
                    del self._born[pid]
            time.sleep(0.005)


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    slow_down()
    found = Grandchildren()
    starting = threading.Thread(target=start, args=("api", Slow()))
    starting.start()
    building.wait()
    found.fork("born-at-start", again=True)
    starting.join()
    busy = threading.Thread(target=work, args=(stopped,))
    busy.start()
    for number in itertools.count():
        if stopped.is_set():
            break
        building.wait(2 * SECONDS)
        found.fork(f"grandchild-{number}", again=False)
        found.reap(AT_ONCE)
    found.reap(0)
    busy.join()
    raise SystemExit(found.stuck > 0)


if __name__ == "__main__":
    main()
