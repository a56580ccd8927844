"""Runs a script in a process of its own, with all that this folder holds."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pytest

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


def run_script(
    cwd: Path, script: str, first: str = "", within: float = 60, **environ: str
) -> Ran:
    """Run a script with exactly that environment, every warning an error.

    What is `first` runs before the library is imported. The script, and each process
    that it has forked, must have ended `within` so many seconds.
    """
    text = textwrap.dedent(first) + _PREAMBLE + textwrap.dedent(script)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", text],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parent),
            "VERSION": "lms@1",
            **environ,
        },
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, log = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            _kill(process)
            said, log = process.communicate()
            pytest.fail(f"not ended within {within:g} s\n{said}\n{log}")
        finally:
            _kill(process)
    assert process.returncode == 0, log
    return Ran(json.loads(said.splitlines()[-1]), log)


def _kill(process: subprocess.Popen[str]) -> None:
    """End what a script has left, its forked children first of all."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
