"""A Celery worker whose tasks wait until their process has given its receipt.

So every child that `--max-tasks-per-child 1` makes is a target before it ends.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from celery import Celery, signals

import resentry

url = os.environ["BROKER_URL"]
celery = Celery("births", broker=url, backend=url)
celery.conf.broker_connection_retry_on_startup = True
celery.conf.worker_prefetch_multiplier = 1


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def start(**_: Any) -> None:
    resentry.init(role="celery")


@celery.task  # type: ignore[untyped-decorator]
def born() -> int:
    receipts = Path(os.environ["RESENTRY_DIR"], "receipts")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for path in receipts.glob("*.json"):
            try:
                if json.loads(path.read_bytes())["pid"] == os.getpid():
                    return os.getpid()
            except (OSError, ValueError):
                continue
        time.sleep(0.005)
    raise TimeoutError("no receipt")
