"""The command `resentry-agent`, also as `python -m agent`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command.

    A SIGHUP asks `run` to read its source. Until `run` can take the signal, it is ignored:
    it would end the process, and the first pass reads the source anyway.
    """
    if sys.argv[1:2] == ["run"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from agent import cli  # noqa: PLC0415 - its imports take most of the start

    cli.main()


if __name__ == "__main__":
    main()
