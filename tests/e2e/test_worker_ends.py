"""The example's worker ends by itself in the time that its manifest gives it.

A process of Celery's pool that has more results than the main process wants waits 30 s
for it, and then ends. Kubernetes kills after 30 s, unless told otherwise. A worker that
is killed leaves the tasks in its hands in the broker, for an hour.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
import yaml
from celery import Celery

from lab.paths import REPOSITORY
from lab.process import Process, eventually
from lab.system import EXAMPLE
from lab.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.slow]

MANIFEST = REPOSITORY / "k8s" / "overlays" / "lms" / "celery.yaml"
PROGRAMS = Path(__file__).parent / "programs"
OPTIONS = ("-A", "late_acks", "worker", "--concurrency", "2")


@pytest.fixture
def broker() -> Iterator[Valkey]:
    with Valkey() as started:
        yield started


def grace_seconds() -> float:
    """Return how long the manifest lets the worker take, after a preStop hook of 3 s."""
    deployment = yaml.safe_load(MANIFEST.read_text())
    pod = deployment["spec"]["template"]["spec"]
    return float(pod.get("terminationGracePeriodSeconds", 30)) - 3


def test_a_busy_worker_ends_and_gives_its_tasks_back(broker: Valkey) -> None:
    """Told to end in the middle of its work it does, and no task stays in its hands."""
    queues = redis.Redis.from_url(broker.url)
    environ = {
        **os.environ,
        "BROKER_URL": broker.url,
        "PYTHONPATH": f"{EXAMPLE}:{PROGRAMS}",
        "RESENTRY_DIR": "/nowhere",
    }
    command = [sys.executable, "-m", "celery", *OPTIONS]
    with Process(command, env=environ, cwd=EXAMPLE) as worker, sending(broker):
        eventually(lambda: queues.dbsize() > 100, 60, "results of tasks")
        worker.signal(signal.SIGTERM)
        eventually(lambda: not worker.alive, grace_seconds(), "the worker's end")
        assert worker.returncode == 0
    assert queues.hlen("unacked") == 0


@contextmanager
def sending(broker: Valkey) -> Iterator[None]:
    """Send tasks faster than two processes work, until the end of the context."""
    sender, ended = Celery("lms", broker=broker.url), threading.Event()

    def send() -> None:
        while not ended.wait(0.003):
            sender.send_task("app.worker.grade", [1])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
