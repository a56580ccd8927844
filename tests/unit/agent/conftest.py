"""What the agent's tests share: settings without a machine's own, and receipts."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.settings import Settings, load
from resentry.contract import Receipt

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., Settings]:
    """Make settings from these values alone, with a volume of the test's own."""

    def make(**values: Any) -> Settings:
        given = {
            "dir": str(tmp_path / "volume"),
            "vault_addr": "http://127.0.0.1:9",
            "vault_paths": ("secret/data/lms",),
            "vault_token": "root",
            **values,
        }
        return load(given, {}).settings

    return make


@pytest.fixture
def python(tmp_path: Path) -> Command:
    """Run a script in a process of its own."""

    def run(script: str, *args: object, **environ: str) -> Any:
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
            env={"PATH": os.environ["PATH"], **environ},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Run `resentry-agent` with exactly that environment."""

    def run(*args: object, **environ: str) -> Any:
        return subprocess.run(
            [sys.executable, "-m", "agent", *map(str, args)],
            env={
                "PATH": os.environ["PATH"],
                "RESENTRY_DIR": str(tmp_path / "volume"),
                **environ,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def receipt() -> Callable[..., Receipt]:
    """Make a receipt of this process."""

    def make(**values: Any) -> Receipt:
        given = {
            "id": "0123456789abcdef",
            "role": "api",
            "pid": os.getpid(),
            "pidns": os.stat("/proc/self/ns/pid").st_ino,
            "start_time": 1,
            **values,
        }
        return Receipt(**given)

    return make
