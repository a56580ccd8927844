"""A memory cgroup as a container has one: what goes above its limit is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

MEMORY = Path("/sys/fs/cgroup/memory")
MIB = 1024 * 1024

_JOIN = (
    "import os, sys\n"
    "with open(sys.argv[1], 'w') as procs: procs.write(str(os.getpid()))\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def is_available() -> bool:
    """Whether this user can make a cgroup of version 1 here."""
    limit = MEMORY / "memory.limit_in_bytes"
    return limit.exists() and os.access(MEMORY, os.W_OK)


class Cgroup:
    """A cgroup that holds the processes of some commands."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def within(self, *args: str) -> list[str]:
        """Return the command that runs these arguments in the cgroup."""
        procs = str(self._path / "cgroup.procs")
        return [sys.executable, "-ISc", _JOIN, procs, *args]

    @property
    def kills(self) -> int:
        """How often the kernel has killed a process for want of memory."""
        text = (self._path / "memory.oom_control").read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    @property
    def peak_mib(self) -> float:
        """The most that the processes have used, with the page cache."""
        return int((self._path / "memory.max_usage_in_bytes").read_text()) / MIB

    @property
    def anonymous_mib(self) -> float:
        """What the processes use now, without the page cache."""
        text = (self._path / "memory.stat").read_text()
        return int(dict(line.split() for line in text.splitlines())["rss"]) / MIB


@contextlib.contextmanager
def memory_limit(mib: int) -> Iterator[Cgroup]:
    """Make a cgroup with that limit. Its processes must have ended at the end."""
    path = MEMORY / f"resentry-{os.getpid()}-{secrets.token_hex(4)}"
    path.mkdir()
    try:
        (path / "memory.limit_in_bytes").write_text(str(mib * MIB))
        yield Cgroup(path)
    finally:
        eventually(
            lambda: not (path / "cgroup.procs").read_text(), what="an empty cgroup"
        )
        path.rmdir()
