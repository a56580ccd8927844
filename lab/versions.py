"""The client on other interpreters, and with other versions of sentry-sdk.

`python -m lab.versions` (`make test-versions`) runs the client's unit tests on each.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from lab.paths import REPOSITORY

FOLDER = REPOSITORY / ".versions"
UV = REPOSITORY / ".tools" / "bin" / "uv"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
CURRENT = f"{sys.version_info[0]}.{sys.version_info[1]}"


def _found(pattern: str, path: str) -> str:
    found = re.search(pattern, (REPOSITORY / path).read_text())
    if found is None:
        raise LookupError(f"{path} names no sentry-sdk")
    return found[1]


OLDEST_SDK = _found(r'"sentry-sdk>=([\d.]+),', "client/pyproject.toml")
NEWEST_SDK = _found(r"(?m)^sentry-sdk==([\d.]+)", "requirements/agent.txt")


class Version(NamedTuple):
    """An interpreter and a version of sentry-sdk."""

    python: str
    sdk: str

    def __str__(self) -> str:
        return f"Python {self.python}, sentry-sdk {self.sdk}"


def matrix() -> list[Version]:
    """Return every interpreter with the newest SDK, and three with the oldest."""
    with_oldest = dict.fromkeys((PYTHONS[0], CURRENT, PYTHONS[-1]))
    return [
        *(Version(python, NEWEST_SDK) for python in PYTHONS),
        *(Version(python, OLDEST_SDK) for python in with_oldest),
    ]


def interpreter(python: str) -> Path | None:
    """Return the interpreter of that version on this machine: on PATH, or pyenv's."""
    named = shutil.which(f"python{python}")
    candidates = [Path(named)] if named else []
    candidates += Path.home().glob(f".pyenv/versions/{python}.*/bin/python")
    ask = "import sys; print(*sys.version_info[:2], sep='.')"
    for candidate in candidates:
        asked = subprocess.run(
            [candidate, "-c", ask], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == python:
            return candidate
    return None


def environment(version: Version) -> Path:
    """Return an environment's Python, which is built when it is first needed.

    Raises RuntimeError when that cannot be done: no such interpreter, no package index.
    """
    base = interpreter(version.python)
    if base is None:
        raise RuntimeError(f"there is no Python {version.python} on this machine")
    folder = FOLDER / f"{version.python}-{version.sdk}"
    python, ready = folder / "bin" / "python", folder / ".ready"
    locked = REPOSITORY / "requirements" / "versions.txt"
    if ready.exists() and ready.stat().st_mtime > locked.stat().st_mtime:
        return python
    install = ("pip", "install", "-q", "--python", python)
    _uv("venv", "-q", "--clear", "--python", base, folder)
    _uv(*install, "--require-hashes", "-r", locked)
    _uv(*install, "--no-deps", f"sentry-sdk=={version.sdk}")
    packages = folder / "lib" / f"python{version.python}" / "site-packages"
    paths = f"{REPOSITORY / 'client'}\n{REPOSITORY}\n"
    (packages / "checkout.pth").write_text(paths)
    ready.touch()
    return python


def _uv(*arguments: object) -> None:
    done = subprocess.run(
        [UV, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
    )
    if done.returncode:
        raise RuntimeError(f"uv {arguments[0]} failed: {done.stderr.strip()}")


def run_tests(version: Version, *options: str) -> tuple[bool, str]:
    """Run the client's unit tests there; return whether all passed, and the output.

    They get no option of a pytest that they run in.
    """
    done = subprocess.run(
        [
            *(environment(version), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(options or ["tests/unit/client"]),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYTEST_")
        },
    )
    return done.returncode == 0, done.stdout + done.stderr


def main() -> None:
    """Print one line per version; exit with 1 when a test failed."""
    failed = False
    for version in matrix():
        began = time.monotonic()
        try:
            passed, output = run_tests(version)
        except RuntimeError as error:
            print(f"{version}: skipped, {error}", flush=True)
            continue
        failed |= not passed
        took = time.monotonic() - began
        print(f"{version}: {output.splitlines()[-1]} [{took:.0f} s]", flush=True)
        if not passed:
            print(output, flush=True)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
