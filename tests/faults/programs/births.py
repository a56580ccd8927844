"""A target that forks targets, which give their receipt and end without a word.

    python births.py BIRTHS AT_ONCE [exec]

With `exec` each child becomes another program at once, as os.fork with os.exec does.
Prints one JSON object: how many files were in the receipts' directory, each time that
AT_ONCE new children had given theirs, after all older ones were killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

import resentry
from lab.process import eventually

RECEIPTS = Path(os.environ["RESENTRY_DIR"], "receipts")


def given(pids: set[int]) -> bool:
    """Whether all of these processes have given their receipt."""
    found = set()
    for path in RECEIPTS.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            found.add(json.loads(path.read_bytes())["pid"])
    return pids <= found


def child(*, becomes: bool) -> None:
    if becomes:
        os.execv("/bin/sleep", ["sleep", "30"])
    signal.pause()


def main(births: int, at_once: int, *, becomes: bool) -> None:
    resentry.init(
        role="api", default_integrations=False, auto_enabling_integrations=False
    )
    eventually(lambda: given({os.getpid()}), what="the parent's receipt")
    files = []
    for _ in range(births // at_once):
        living = set()
        for _ in range(at_once):
            pid = os.fork()
            if not pid:
                child(becomes=becomes)
            living.add(pid)
        if not becomes:
            eventually(partial(given, living), what=f"receipts of {living}")
        files.append(len(os.listdir(RECEIPTS)))
        for pid in living:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    print(json.dumps({"files": sorted(set(files)), "times": len(files)}))


main(int(sys.argv[1]), int(sys.argv[2]), becomes="exec" in sys.argv)
