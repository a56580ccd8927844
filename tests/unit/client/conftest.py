"""Scripts in processes of their own: a Sentry client belongs to a whole process."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.sink import Sink

_PREAMBLE = """
import os
import resentry
import sentry_sdk
from scenario import *
from scenario import eventually
"""


class Ran(NamedTuple):
    """What a script said as its last line, and what it logged."""

    said: dict[str, Any]
    log: str


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """Run a script with exactly that environment, every warning an error.

    What is `first` runs before the library is imported.
    """

    def run(script: str, first: str = "", **environ: str) -> Ran:
        text = textwrap.dedent(first) + _PREAMBLE + textwrap.dedent(script)
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(__file__).parent),
                "VERSION": "lms@1",
                **environ,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return Ran(json.loads(ran.stdout.splitlines()[-1]), ran.stderr)

    return run


@pytest.fixture
def volume(tmp_path: Path) -> str:
    """Return a directory for the volume, not made yet."""
    return str(tmp_path / "volume")
