"""Processes that come and go: no more files than live targets need."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.confirm.receipts import Receipts
from lab.models import Model
from lab.process import eventually
from lab.sink import Sink
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

PROGRAMS = Path(__file__).parent / "programs"
BIRTHS = 400
AT_ONCE = 8
PROCESSES = 4
"""Of the Celery pool."""
EACH = 2
"""Files of a live target: its receipt and its lock."""


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def model(sink: Sink) -> Iterator[Model]:
    with Model(sink) as model:
        yield model


def births(model: Model, *options: str) -> dict[str, Any]:
    process = model.spawn(*(sys.executable, "births.py", *options), cwd=PROGRAMS)
    eventually(lambda: not process.alive, 350, "the end of the births")
    lines = process.log_text().splitlines()
    assert process.returncode == 0, "\n".join(lines[-30:])
    said: dict[str, Any] = json.loads(lines[-1])
    return said


@pytest.mark.parametrize("tidied", [False, True], ids=["no agent", "an agent"])
def test_hundreds_of_killed_targets_leave_no_more_files_than_the_living(
    model: Model, *, tidied: bool
) -> None:
    """A newcomer removes what its dead predecessors left; so does an agent."""
    ended = threading.Event()

    def tidy() -> None:
        while not ended.wait(0.05):
            Receipts(f"{model.volume}/receipts", tidy=True).read()

    agent = threading.Thread(target=tidy)
    if tidied:
        agent.start()
    try:
        said = births(model, str(BIRTHS), str(AT_ONCE))
    finally:
        ended.set()
        if tidied:
            agent.join()

    assert said["times"] * AT_ONCE == BIRTHS
    assert said["files"] == [EACH * (AT_ONCE + 1)]


def test_a_fork_that_execs_at_once_leaves_no_file(model: Model) -> None:
    """Its thread ends before it would have given a receipt."""
    said = births(model, "96", str(AT_ONCE), "exec")

    assert said["files"] == [EACH]


@pytest.mark.parametrize(
    ("with_agent", "tasks"), [(False, 80), (True, 40)], ids=["no agent", "an agent"]
)
def test_celery_children_of_one_task_leave_no_more_files_than_the_living(
    sink: Sink, tasks: int, *, with_agent: bool
) -> None:
    """`--max-tasks-per-child 1` makes a target of every task; the rest is as above."""
    with System() as system:
        system.write(SENTRY_DSN=sink.dsn(1))
        agent = system.start_agent()
        eventually(lambda: system.status()["current"], what="the first snapshot")
        if not with_agent:
            agent.stop()
        broker = {"BROKER_URL": system.broker.url, "PYTHONPATH": str(PROGRAMS)}
        worker = system.spawn(
            *("celery", "-A", "tasks", "worker", "--loglevel", "WARNING"),
            *("--concurrency", str(PROCESSES), "--max-tasks-per-child", "1"),
            environ=broker,
        )
        receipts = system.directory / "receipts"
        eventually(lambda: list(receipts.glob("*.json")), 30, "the first receipt")
        script = (
            "from tasks import born; "
            f"found = [born.delay() for _ in range({tasks})]; "
            "print(len({each.get(timeout=300) for each in found}))"
        )
        code, printed = system.run(sys.executable, "-c", script, within=300, **broker)

        assert (code, printed.strip()) == (0, str(tasks)), worker.log_text()
        eventually(
            lambda: (
                len(system.status()["rollout"]["targets"]) == PROCESSES + 1
                and len(os.listdir(receipts)) == EACH * (PROCESSES + 1)
            ),
            60,
            what="five targets, and no file that is not theirs",
        )
