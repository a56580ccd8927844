"""Notices changes of a mounted file or directory, once per burst of changes."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
)

from agent.watch import watch
from resentry.contract import DATA_LINK

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.events import FileSystemEvent
    from watchdog.observers.inotify import InotifyObserver

BURST_SECONDS = 0.1
"""The time from the first event of a burst to the call of `changed`."""
_KINDS = (
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
    *(FileCreatedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent),
)


class MountWatch:
    """Watches a directory; for a file, its directory, because the file is replaced.

    Call `arm` before each read: the watched directory may have been replaced.
    """

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        self._path = path
        self._changed = changed
        self._lock = threading.Lock()
        self._name = ""
        self._watched: tuple[str, int, int] | None = None
        self._observer: InotifyObserver | None = None
        self._is_pending = False

    def arm(self) -> bool:
        """Watch what is at the path now. Returns false if no watch can be made."""
        with self._lock:
            directory, self._name = self._path, ""
            if not os.path.isdir(directory):
                directory, self._name = os.path.split(directory)
                directory = directory or "."
            try:
                status = os.stat(directory)
            except OSError:
                self._end()
                return False
            wanted = (os.path.realpath(directory), status.st_dev, status.st_ino)
            if wanted != self._watched or not self._is_alive():
                self._end()
                self._observer = watch(wanted[0], _KINDS, self._happened)
                self._watched = wanted
            return self._observer is not None

    def close(self) -> None:
        """Stop watching."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()
        self._observer = None

    def _is_alive(self) -> bool:
        """Whether the watched directory still exists."""
        return self._observer is not None and all(
            emitter.should_keep_running() for emitter in self._observer.emitters
        )

    def _happened(self, event: FileSystemEvent) -> None:
        paths = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if not self._is_pending and any(map(self._counts, paths)):
            self._is_pending = True
            timer = threading.Timer(BURST_SECONDS, self._report_change)
            timer.daemon = True
            timer.start()

    def _counts(self, path: str) -> bool:
        directory, name = os.path.split(path)
        if self._watched is None or directory != self._watched[0]:
            return bool(path)  # the directory itself was replaced
        if name == DATA_LINK:
            return True
        return name == self._name if self._name else not name.startswith("..")

    def _report_change(self) -> None:
        self._is_pending = False  # later events begin the next burst
        self._changed()
