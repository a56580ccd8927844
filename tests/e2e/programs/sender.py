"""Sends tasks to a Celery worker, and appends the event ids that they return to a file."""

from __future__ import annotations

import signal
import sys
import threading

from celery import Celery

AT_ONCE = 12


def main() -> None:
    broker, path = sys.argv[1:]
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    celery = Celery(broker=broker, backend=broker)
    with open(path, "a", buffering=1) as ids:
        while not stopped.is_set():
            tasks = [
                celery.send_task("app.worker.grade", [number])
                for number in range(AT_ONCE)
            ]
            ids.writelines(f"{task.get(timeout=60)}\n" for task in tasks)


if __name__ == "__main__":
    main()
