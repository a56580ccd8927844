"""Runs a command, and keeps what it leaves in the background: `supervise.py COMMAND ...`.

It ends when no child is left. SIGTERM goes on to all of its children.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def children() -> list[int]:
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in found.split()]


def end(number: int, _frame: object) -> None:
    for pid in children():
        os.kill(pid, number)


def main() -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.fork() == 0:
        os.execvp(sys.argv[1], sys.argv[1:])
    signal.signal(signal.SIGTERM, end)
    code = 0
    while children():
        code |= os.waitstatus_to_exitcode(os.wait()[1])
    sys.exit(code)


if __name__ == "__main__":
    main()
