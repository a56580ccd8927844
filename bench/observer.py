"""Sees each switch of a volume and each receipt when it happens.

Nothing but an inotify and a read stands between an event and its time: what is measured
shares two cores with the observer.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from resentry.contract import DATA_LINK, RECEIPT_SUFFIX, SETTINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IN_MOVED_TO, _IN_IGNORED = 0x80, 0x8000
_EVENT = struct.Struct("iIII")


class Seen(NamedTuple):
    """A file that was renamed into its place: when, and the name and content."""

    at: float
    name: str
    body: dict[str, Any]


class Observer:
    """Notes what happens on a volume until the context ends."""

    def __init__(self, volume: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = int(self._libc.inotify_init1(os.O_CLOEXEC))
        self._folders = {
            int(self._libc.inotify_add_watch(self._file, bytes(at), _IN_MOVED_TO)): at
            for at in (volume, volume / "receipts")
        }
        if self._file < 0 or min(self._folders) < 0:
            raise OSError(ctypes.get_errno(), "inotify cannot watch the volume")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._noted: deque[tuple[float, str, bytes]] = deque()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._libc.inotify_rm_watch(self._file, min(self._folders))  # is an event
        self._thread.join()
        os.close(self._file)

    def _run(self) -> None:
        while True:
            events, now, offset = os.read(self._file, 65536), time.time(), 0
            while offset < len(events):
                number, mask, _, length = _EVENT.unpack_from(events, offset)
                offset += _EVENT.size + length
                if mask & _IN_IGNORED:
                    return
                name = os.fsdecode(events[offset - length : offset].rstrip(b"\0"))
                self._note(now, self._folders[number] / name)

    def _note(self, now: float, path: Path) -> None:
        if path.name == DATA_LINK:
            path = path / SETTINGS_FILE
        elif path.suffix != RECEIPT_SUFFIX:
            return
        self._noted.append((now, path.name, path.read_bytes()))

    def new(self) -> Iterator[Seen]:
        """Yield what was noted since the last call, the oldest first."""
        while self._noted:
            at, name, body = self._noted.popleft()
            yield Seen(at, name, json.loads(body))
