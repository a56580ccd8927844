"""Lets one heavy command run at a time: each is a process in the agent's container."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from agent.observe import stderr

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def one_at_a_time(directory: str) -> Iterator[None]:
    """Wait until no other heavy command of this volume runs.

    The kernel drops the lock when a command ends, however it ends. Without a volume there
    is no agent whose memory could be short.
    """
    from agent.publish.names import PRIVATE_DIR  # noqa: PLC0415 - most do without

    try:
        folder = os.open(f"{directory}/{PRIVATE_DIR}", os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)


def _lock(folder: int) -> None:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stderr.say("waiting for the end of another resentry-agent check on this volume")
        fcntl.flock(folder, fcntl.LOCK_EX)
