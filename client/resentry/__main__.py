"""Run a script with Sentry initialised: `python -m resentry [--role ROLE] SCRIPT ...`."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

import resentry


def main() -> None:
    """Initialise, say what runs, then run the script as `__main__`."""
    __tracebackhide__ = True
    parser = argparse.ArgumentParser(
        prog="python -m resentry",
        description="Initialise Sentry as the application would, then run a script.",
    )
    parser.add_argument("--role", default="api", help="api (default) or celery")
    parser.add_argument("script", help="the Python file to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="the script's own")
    given = parser.parse_args()
    if not Path(given.script).is_file():
        parser.error(f"there is no file {given.script}")
    resentry.init(role=given.role)
    found: dict[str, Any] = resentry.status()
    if found["error"]:
        print(f"Failed to initialize Sentry: {found['error']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1)
    sys.argv = [given.script, *given.arguments]
    sys.path[0] = str(Path(given.script).resolve().parent)
    runpy.run_path(given.script, run_name="__main__")


if __name__ == "__main__":
    __tracebackhide__ = True  # the SDK leaves it out of the script's stack traces
    main()
