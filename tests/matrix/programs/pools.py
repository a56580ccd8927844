"""A pool of `multiprocessing`, beside a parent that works too: `pools.py METHOD`."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading

from captures import capture, is_over, start

PROCESSES = 2
AT_ONCE = 4
PAUSE = 0.05


def main(method: str) -> None:
    start()
    context = multiprocessing.get_context(method)
    # A child that is no copy of its parent starts Sentry itself.
    initializer = None if method == "fork" else start
    stopped = threading.Event()
    with context.Pool(PROCESSES, initializer=initializer) as pool:
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        turn = 0
        while not stopped.wait(PAUSE):
            if is_over():
                continue
            items = [f"{turn}-{number}" for number in range(AT_ONCE)]
            pool.map(capture, items, chunksize=1)
            capture(f"{turn}-parent")
            turn += 1
        pool.close()
        pool.join()


if __name__ == "__main__":
    main(sys.argv[1])
