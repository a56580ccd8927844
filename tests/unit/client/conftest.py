"""Scripts in processes of their own: a Sentry client belongs to a whole process."""

import functools
import textwrap
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


@pytest.fixture
def go(
    run: Callable[..., Ran], sink: Sink, volume: str, request: pytest.FixtureRequest
) -> Callable[..., Ran]:
    """Run a script after its module's STEPS, with a volume and three projects' DSNs."""
    given = dict(zip("ABC", map(sink.dsn, (1, 2, 3)), strict=True))
    given["RESENTRY_DIR"] = volume
    steps: str = request.module.STEPS
    return lambda script, **more: run(
        steps + textwrap.dedent(script), **{**given, **more}
    )
