"""A plain script with threads: each event's id goes to the file that it is given."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TextIO

import sentry_sdk

import resentry

PAUSE = 0.01


def work(name: int, ids: TextIO, stopped: threading.Event) -> None:
    turn = 0
    while not stopped.wait(PAUSE):
        ids.write(f"{sentry_sdk.capture_message(f'thread {name}, turn {turn}')}\n")
        turn += 1


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    resentry.init(role="api")
    with open(sys.argv[1], "a", buffering=1) as ids:
        threads = [
            threading.Thread(target=work, args=(name, ids, stopped))
            for name in range(2)
        ]
        for thread in threads:
            thread.start()
        work(2, ids, stopped)
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
