"""A writer that dies by SIGKILL at every call that changes the file system, in turn.

    python crash.py TEMPLATE WORK

Copies the volume TEMPLATE to WORK/<number>-<when> for every such call of one `open` and
`publish`, where a forked child does both until that call. The last line says which
calls there were; KEEP_SECONDS is below zero so that removing the old set is among them.
"""

from __future__ import annotations

import builtins
import json
import os
import shutil
import signal
import sys
from typing import Any

from agent.publish import memory, volume
from resentry.contract import Snapshot, revision_of

CALLS = (
    *("mkdir", "open", "write", "fchown", "fchmod", "chown", "chmod", "fsync"),
    *("symlink", "utime", "rename", "replace", "unlink", "rmdir"),
)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killer:
    """Notes the calls, and dies before, amid or after the one of that number."""

    def __init__(self, number: int, when: str) -> None:
        self.names: list[str] = []
        self._number = number
        self._when = when
        for name in CALLS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        memory.open = self._open  # type: ignore[attr-defined]

    def _wrapped(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & WRITING:
                return real(*args, **kwargs)
            self.names.append(name)
            mine = len(self.names) == self._number
            if mine and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            if mine and self._when == "amid":
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                return real(*args, **kwargs)
            finally:
                if mine:
                    os.kill(os.getpid(), signal.SIGKILL)

        return call

    def _open(self, file: Any, mode: str) -> Any:
        """Let what `open` opens for writing write by `os.write`, as it is counted."""
        if mode != "wb":
            return builtins.open(file, mode)
        return Counted(builtins.open(file, mode, buffering=0))


class Counted:
    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, body: bytes) -> int:
        return os.write(self._file.fileno(), body)


def publish(directory: str) -> None:
    settings = {
        "SENTRY_DSN": "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/2",
        "SENTRY_RELEASE": "next",
    }
    made = Snapshot(settings, revision=revision_of(Snapshot(settings)))
    opened = volume.Volume(directory, f"{directory}/receipts", str(os.getegid()))
    opened.open()
    opened.publish(made)


def calls(template: str, work: str) -> list[str]:
    """Publish once without dying; return the names of the calls."""
    shutil.copytree(template, f"{work}/whole", symlinks=True)
    reader, writer = os.pipe()
    if not os.fork():
        killer = Killer(0, "never")
        publish(f"{work}/whole")
        os.write(writer, json.dumps(killer.names).encode())
        os._exit(0)
    os.close(writer)
    with builtins.open(reader, "rb") as said:
        names: list[str] = json.loads(said.read())
    os.wait()
    return names


def kill(directory: str, number: int, when: str) -> None:
    pid = os.fork()
    if not pid:
        Killer(number, when)
        publish(directory)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
        raise RuntimeError(f"the writer did not die {when} call {number}")


def main(template: str, work: str) -> None:
    volume.KEEP_SECONDS = -1
    names = calls(template, work)
    for number, name in enumerate(names, start=1):
        for when in (
            ("before", "amid", "after")
            if name == "write"
            else (
                "before",
                "after",
            )
        ):
            directory = f"{work}/{number}-{when}"
            shutil.copytree(template, directory, symlinks=True)
            kill(directory, number, when)
    print(json.dumps(names))


main(*sys.argv[1:])
