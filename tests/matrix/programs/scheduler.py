"""APScheduler in the process: its jobs report one event each, until SIGTERM."""

from __future__ import annotations

import itertools
import signal
import threading

from apscheduler.schedulers.background import BackgroundScheduler
from captures import capture, start

EVERY = 0.1


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    start()
    scheduler = BackgroundScheduler()
    items = itertools.count()
    for _ in range(3):
        scheduler.add_job(
            lambda: capture(next(items)), "interval", seconds=EVERY, max_instances=3
        )
    scheduler.start()
    stopped.wait()
    scheduler.shutdown()


if __name__ == "__main__":
    main()
