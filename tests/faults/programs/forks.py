"""Forks without end while threads capture and another thread swaps without end.

Prints one JSON object: the ids that the parent captured, what each child found, and how
many children did not end.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import sentry_sdk

import resentry
from lab.load import waiting
from lab.swaps import publish, settings_for
from resentry import forks
from resentry.outlet import Outlet

AT_ONCE = 6
STUCK_SECONDS = 40.0
FLUSH_SECONDS = 30.0
WAITING = 40
"""With so many events in its queue of 100 the load holds back: what overflows a queue is
lost with sentry-sdk alone, too."""


class Swaps:
    """A thread that publishes the next snapshot as soon as the last one is taken up."""

    def __init__(self, dsns: list[str]) -> None:
        self._dsns = dsns
        self._directory = Path(os.environ["RESENTRY_DIR"])
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.published = 0

    def publish(self) -> None:
        at = self.published % len(self._dsns)
        publish(
            self._directory, self.published + 1, settings_for(at + 1, self._dsns[at])
        )
        self.published += 1

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            if resentry.status()["sequence"] == self.published:
                self.publish()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


class Captures:
    """A thread that captures all the time."""

    def __init__(self) -> None:
        self.ids: list[str | None] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            if waiting() < WAITING:
                self.ids.append(sentry_sdk.capture_message("parent"))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def sockets() -> list[str]:
    """Return the sockets that this process has open."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return [link for link in found if link.startswith("socket:")]


def child(number: int, birth: Birth, told: int) -> None:
    """Say what this child was born with; capture, unless it ends at once."""
    about: dict[str, Any] = {
        "inherited": sockets(),
        "half_built": birth.half_built,
        "id": None,
        "flushed": True,
    }
    if number % 4:
        about["id"] = sentry_sdk.capture_message(f"child {number}")
        began = time.monotonic()
        sentry_sdk.flush(FLUSH_SECONDS)
        about["took"] = round(time.monotonic() - began, 3)
        about["flushed"] = about["took"] < FLUSH_SECONDS
        now = resentry.status()
        about["now"] = {name: now[name] for name in ("sequence", "phase", "tally")}
    # One write of less than PIPE_BUF: never mixed with another child's.
    os.write(told, json.dumps(about).encode() + b"\n")


class Children:
    """The children that are under way; one that takes too long is killed and counted."""

    def __init__(self) -> None:
        self._born: dict[int, float] = {}
        self.stuck = 0
        self.failed = 0

    def add(self, pid: int) -> None:
        self._born[pid] = time.monotonic()

    def reap(self, leave: int) -> None:
        """Return when at most so many are under way."""
        while len(self._born) > leave:
            for pid, born in list(self._born.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if not ended and time.monotonic() - born > STUCK_SECONDS:
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    self.stuck += 1
                elif not ended:
                    continue
                self.failed += status != 0
                del self._born[pid]
            time.sleep(0.001)


class Birth:
    """Knows, in a child, whether its parent was building a client just then.

    Made before `resentry.init`, so that its hook runs before the library's.
    """

    def __init__(self) -> None:
        self.building = threading.Event()
        self.half_built = False
        os.register_at_fork(after_in_child=self._born)

    def _born(self) -> None:
        self.half_built = self.building.is_set()
        self.building = threading.Event()

    def slow_down(self, seconds: float) -> None:
        """Let every later client take that long to build."""
        build = Outlet.__init__

        def slow(outlet: Any, options: Any) -> None:
            self.building.set()
            time.sleep(seconds)
            build(outlet, options)
            self.building.clear()

        Outlet.__init__ = slow  # type: ignore[assignment,method-assign]


def listen(heard: int, lines: list[bytes]) -> None:
    with open(heard, "rb") as pipe:
        lines.extend(pipe)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("dsn", nargs="+")
    parser.add_argument("--forks", type=int, default=100)
    parser.add_argument("--slow", type=float, default=0.0, help="a build's seconds")
    parser.add_argument("--multiprocessing", action="store_true")
    return parser.parse_args()


def main() -> None:
    given = arguments()

    swaps = Swaps(given.dsn)
    swaps.publish()
    birth = Birth()
    resentry.init(role="api", enable_logs=True)
    if given.slow:
        birth.slow_down(given.slow)
    else:
        # A fork waits 0.1 s for a connection that is being made. A busy machine needs
        # longer, and then the child has one socket of its parent's.
        forks.WAIT_SECONDS = 10
    captures = [Captures(), Captures()]
    threads: list[Swaps | Captures] = [swaps, *captures]
    for thread in threads:
        thread.start()

    heard, told = os.pipe()
    lines: list[bytes] = []
    listener = threading.Thread(target=listen, args=(heard, lines))
    listener.start()
    children = Children()
    if given.multiprocessing:
        context = multiprocessing.get_context("fork")
        for number in range(given.forks):
            process = context.Process(target=child, args=(number, birth, told))
            process.start()
            process.join(STUCK_SECONDS)
            children.stuck += process.is_alive()
            children.failed += process.exitcode != 0
            process.kill()
    else:
        for number in range(given.forks):
            if given.slow:
                birth.building.wait(STUCK_SECONDS)
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    child(number, birth, told)
                    code = 0
                finally:
                    os._exit(code)
            children.add(pid)
            children.reap(leave=AT_ONCE)
        children.reap(leave=0)

    for thread in threads:
        thread.stop()
    os.close(told)
    listener.join()
    sentry_sdk.flush(20)
    resentry.close()
    said = {
        "swaps": swaps.published,
        "ids": captures[0].ids + captures[1].ids,
        "children": [json.loads(line) for line in lines],
        "stuck": children.stuck,
        "failed": children.failed,
        "now": resentry.status()["tally"],
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
