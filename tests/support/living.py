"""Other processes that hold the locks of targets, as live ones do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING

from resentry.contract import encode_receipt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from resentry.contract import Receipt

_HOLD = """
import fcntl, sys
files = [open(name, "w") for name in sys.argv[1:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def held(*locks: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Let another process hold these locks. It may be killed before the end."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, *locks],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def living(receipts: Path, receipt: Receipt) -> Iterator[None]:
    """A live target that gives this receipt."""
    with held(receipts / f"{receipt.id}.lock"):
        written = receipts / f"{receipt.id}.tmp"
        written.write_bytes(encode_receipt(receipt))
        written.rename(receipts / f"{receipt.id}.json")  # as a target does
        yield
