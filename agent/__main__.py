"""The command `resentry-agent`, also as `python -m agent`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command.

    A SIGHUP asks `run` to read its source. Until `run` can take the signal, it is ignored:
    it would end the process, and the first pass reads the source anyway.
    """
    words = sys.argv[1:]
    if words[:1] == ["run"]:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if words == ["run"]:
        # Without an option there is nothing to parse. The parser and the commands' answers
        # would cost each pod CPU time at its start, and memory.
        from agent import start  # noqa: PLC0415

        try:
            start.main()
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - `end` tells it
            from agent import cli  # noqa: PLC0415 - only for the error

            cli.end(error)
    else:
        from agent import cli  # noqa: PLC0415 - its imports take most of the start

        cli.main()


if __name__ == "__main__":
    main()
