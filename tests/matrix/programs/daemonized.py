"""A daemon of python-daemon, which forks twice and closes every descriptor."""

from __future__ import annotations

import itertools
import time

from captures import capture, start
from daemon import DaemonContext

PAUSE = 0.02


def main() -> None:
    start()
    # Its own handler of SIGTERM raises SystemExit.
    with DaemonContext():
        for item in itertools.count():
            capture(item)
            time.sleep(PAUSE)


if __name__ == "__main__":
    main()
