"""Gives a queue's workers work until SIGTERM: `sender.py QUEUE`.

It sends an item now and then, and none while several wait (the file MATRIX_IDS says how
many are done) or while there is a file of that name with `.held`.
"""
# ruff: noqa: PLC0415 - of the queues' packages only one is needed

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 12
PAUSE = 0.03
URL = os.environ["BROKER_URL"]


def celery() -> Callable[[int], object]:
    from celery import Celery

    app = Celery(broker=URL)
    return lambda item: app.send_task("celery_tasks.work", [item])


def rq() -> Callable[[int], object]:
    import redis
    from rq import Queue

    queue = Queue(connection=redis.Redis.from_url(URL))
    return lambda item: queue.enqueue("rq_jobs.work", item, result_ttl=0)


def dramatiq() -> Callable[[int], object]:
    from dramatiq import Message
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=URL)
    broker.declare_queue("default")
    return lambda item: broker.enqueue(
        Message(
            queue_name="default",
            actor_name="work",
            args=(item,),
            kwargs={},
            options={},
        )
    )


def arq() -> Callable[[int], object]:
    from arq import create_pool
    from arq.connections import RedisSettings

    loop = asyncio.new_event_loop()
    pool = loop.run_until_complete(create_pool(RedisSettings.from_dsn(URL)))
    return lambda item: loop.run_until_complete(pool.enqueue_job("work", item))


def main() -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    send = {"celery": celery, "rq": rq, "dramatiq": dramatiq, "arq": arq}[sys.argv[1]]()
    done = Path(os.environ["MATRIX_IDS"])
    item = 0
    while not stopped.wait(PAUSE):
        if os.path.exists(f"{done}.held"):
            continue
        finished = done.read_bytes().count(b"\n") if done.exists() else 0
        if item - finished < AT_ONCE:
            send(item)
            item += 1


if __name__ == "__main__":
    main()
