"""What unit and contract tests share: an opened volume; marks; and a random order."""

import functools
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.publish.volume import Volume

MARKS = {"process", "vault", "cluster"}
"""A test that starts a process has one of these: `make unit` leaves it out."""

_started: list[str] = []
_start = subprocess.Popen.__init__


@functools.wraps(_start)
def _noted(*args: Any, **kwargs: Any) -> None:
    _started.append("a process")
    _start(*args, **kwargs)


# An audit hook would see more, and take a quarter of the time of `make unit`.
subprocess.Popen.__init__ = _noted
# No test cuts the power. On a busy disk this is a third of the time of `make unit`.
os.fsync = lambda _file: None
os.register_at_fork(before=lambda: _started.append("a fork"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed", type=int, help="run the tests in the random order of that number"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    seed = config.getoption("--seed")
    if seed is not None:
        random.Random(seed).shuffle(items)


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that starts a process and has no mark that says so."""
    _started.clear()
    yield
    if _started and not MARKS & {mark.name for mark in request.node.iter_markers()}:
        pytest.fail("this test starts a process: mark it with `process` or `vault`")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def volume(directory: Path) -> Iterator[Volume]:
    opened = Volume(str(directory), f"{directory}/receipts")
    opened.open()
    yield opened
    opened.close()
