"""Run a script with Sentry on: `python -m resentry [--role ROLE] SCRIPT ...`."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

import resentry


def main() -> None:
    """Start Sentry, exit with 1 if that fails, then run the script as `__main__`."""
    __tracebackhide__ = True
    parser = argparse.ArgumentParser(
        prog="python -m resentry",
        description="Start Sentry as the application would, then run a script.",
    )
    parser.add_argument(
        "--role",
        default="api",
        help="role of this process, such as api or celery (default: api)",
    )
    parser.add_argument("script", help="Python file to run")
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="arguments of the script"
    )
    given = parser.parse_args()
    if not Path(given.script).is_file():
        parser.error(f"script {given.script} does not exist")
    resentry.init(role=given.role)
    error = resentry.status()["error"]
    if error:
        print(f"Failed to initialize Sentry: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1)
    sys.argv = [given.script, *given.arguments]
    sys.path[0] = str(Path(given.script).resolve().parent)
    runpy.run_path(given.script, run_name="__main__")


if __name__ == "__main__":
    __tracebackhide__ = True  # the SDK leaves it out of the script's stack traces
    main()
