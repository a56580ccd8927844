"""What is installed for production: locked, not editable, nothing else.

The development environment has more in it, which changes the figures: structlog
imports rich where there is one.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

UV = REPOSITORY / ".tools/bin/uv"
DISTRIBUTIONS = (REPOSITORY / "client", REPOSITORY)


def build(
    folder: Path,
    locked: str = "requirements/agent.txt",
    distributions: Sequence[Path] = DISTRIBUTIONS,
) -> Path:
    """Make an environment under `folder`, byte-compiled; return its `bin`.

    Without more arguments it is the agent's.
    """
    environment, wheels = folder / "environment", folder / "wheels"
    python = environment / "bin/python"
    _run([UV, "venv", "--python", sys.executable, environment])
    install: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--compile-bytecode",
        "--python",
        python,
    ]
    _run([*install, "--require-hashes", "-r", REPOSITORY / locked])
    for distribution in distributions:
        wheel = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        _run([*wheel, "-d", wheels], cwd=distribution)
    _run([*install, "--no-deps", *sorted(wheels.glob("*.whl"))])
    return python.parent


def _run(command: Sequence[str | Path], cwd: Path = REPOSITORY) -> None:
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    if done.returncode:
        raise SystemExit(done.stdout.decode(errors="replace"))
