"""A Celery application whose tasks, and whose beat, report one event each."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

from captures import capture, is_over, start
from celery import Celery
from celery.signals import beat_embedded_init, beat_init, before_task_publish
from sentry_sdk.integrations.celery import CeleryIntegration

EVERY = 0.05
"""Seconds between two turns of the schedule."""

start("celery", CeleryIntegration())
broker = os.environ["BROKER_URL"]
app = Celery("celery_tasks", broker=broker)
app.conf.task_ignore_result = True
app.conf.beat_max_loop_interval = EVERY
if "MATRIX_BEAT" in os.environ:
    app.conf.beat_schedule = {
        "often": {"task": "celery_tasks.work", "schedule": EVERY, "args": ("beat",)}
    }
turns = itertools.count()


@app.task
def work(item: object) -> None:
    """Report one event; a scheduled one has no number of its own."""
    item = f"{item}-{os.getpid()}-{next(turns)}" if item == "beat" else item
    time.sleep(float(os.environ.get("MATRIX_SECONDS", "0")))
    if not is_over():
        capture(item)


@beat_init.connect
@beat_embedded_init.connect
def report_turns(**_: Any) -> None:
    """Let the scheduler's process report one event for each turn."""
    before_task_publish.connect(report_turn, weak=False)


def report_turn(**_: Any) -> None:
    if not is_over():
        capture(f"turn-{os.getpid()}-{next(turns)}")
