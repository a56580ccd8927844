"""Processes that are born after a rotation run the newest snapshot from the start."""

from __future__ import annotations

import signal

import pytest

from lab.matrix import PRELOADED, RELOADED
from lab.process import eventually
from lab.sides import Side

pytestmark = pytest.mark.process


def test_a_reloaded_api_runs_the_newest_snapshot() -> None:
    """`uvicorn --reload` replaces the process: its successor knows the rotation."""
    with Side(RELOADED, "resentry") as side:
        side.await_more(RELOADED.between)
        side.rotate()
        before = {target.receipt.pid for target in side.model.targets()}
        (side.model.folder / RELOADED.files[0]).touch()
        eventually(
            lambda: before.isdisjoint(
                target.receipt.pid for target in side.model.targets()
            ),
            30,
            "another process",
        )
        side.await_more(RELOADED.between)
        side.rotate()
        side.await_more(RELOADED.between)
        found = side.finish()

    assert (found.lost, found.duplicated, found.late, found.misplaced) == (0, 0, 0, 0)


def test_a_worker_that_gunicorn_adds_runs_the_newest_snapshot() -> None:
    """A preloaded application's late child never sends to an old project."""
    with Side(PRELOADED, "resentry") as side:
        side.await_more(PRELOADED.between)
        side.rotate()
        side.process.signal(signal.SIGTTIN)
        side.model.converge(PRELOADED.targets + 1)
        workers = PRELOADED.targets - PRELOADED.main
        eventually(
            lambda: len({each.pid for each in side.captures()}) > workers,
            30,
            "an event of the new worker",
        )
        found = side.finish()

    assert (found.lost, found.duplicated, found.late, found.misplaced) == (0, 0, 0, 0)
    assert found.failed == 0
