"""The agent, beside a thread that tells what the process holds.

`python -m bench.inside SOCKET run` stands in for `resentry-agent run`. Each connection to
the UNIX socket gets one `Holding` as JSON. Only the soak starts an agent in this way: the
product has nothing of it.
"""

from __future__ import annotations

import gc
import json
import signal
import socket
import sys
import threading
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from agent.protect import return_memory
from lab.leaks import anonymous_kb

if TYPE_CHECKING:
    from pathlib import Path


class Holding(NamedTuple):
    """What a process holds once its garbage is collected, and its free memory returned."""

    trimmed_kib: int
    """Memory that no other process can share."""
    blocks: int
    """Pieces of memory that Python's objects occupy: those of the next line, strings, numbers."""
    objects: int
    types: dict[str, int]
    """Objects that the garbage collector knows, by type."""


def ask(path: Path) -> Holding:
    """Return what the process behind that socket holds."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        with connection.makefile() as answer:
            return Holding(**json.load(answer))


def look() -> Holding:
    """Return what this process holds."""
    trimmed = anonymous_kb()
    blocks = sys.getallocatedblocks()
    # In one call from C: a list of all objects that another thread's turn came upon would
    # hold a tuple which that thread is still making, and "tuple(...)" fails there then.
    types = Counter(map(type, chain.from_iterable(map(gc.get_objects, [None]))))
    names: Counter[str] = Counter()
    for kind, count in types.items():
        names[f"{kind.__module__}.{kind.__qualname__}"] += count
    return Holding(trimmed, blocks, types.total(), dict(names))


def _serve(listener: socket.socket) -> None:
    # The agent's signals are for its main thread.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(json.dumps(look()._asdict()).encode())


def main() -> None:
    """Serve the socket of the first argument; be `resentry-agent` with the others."""
    from agent.__main__ import main as agent  # noqa: PLC0415 - as the command does

    return_memory()  # as the agent does, but before the thread below
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv.pop(1))
    listener.listen()
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    agent()


if __name__ == "__main__":
    main()
