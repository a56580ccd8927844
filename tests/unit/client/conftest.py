"""Scripts in processes of their own: a Sentry client belongs to a whole process."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from script import Ran, run_script

from lab.sink import Sink


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Run a script in a directory of its own: `run_script`."""
    return functools.partial(run_script, tmp_path)


@pytest.fixture
def volume(tmp_path: Path) -> str:
    """Return a directory for the volume, not made yet."""
    return str(tmp_path / "volume")
