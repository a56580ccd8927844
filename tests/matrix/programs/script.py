"""A script with threads: each reports one event after the other, until SIGTERM."""

from __future__ import annotations

import itertools
import signal
import threading

from captures import capture, start

PAUSE = 0.1


def work(items: itertools.count[int], stopped: threading.Event) -> None:
    while not stopped.wait(PAUSE):
        capture(next(items))


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    start()
    items = itertools.count()
    threads = [threading.Thread(target=work, args=(items, stopped)) for _ in range(2)]
    for thread in threads:
        thread.start()
    work(items, stopped)
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
