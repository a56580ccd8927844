"""Tells of changes to what something else mounts, once per burst."""

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
"""From the first event of a burst until `changed` is called."""
_KINDS = (
    *(DirCreatedEvent, DirMovedEvent, DirDeletedEvent),
    *(FileCreatedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent),
)


class MountWatch:
    """Watches a directory; of a file its directory, for the file itself is replaced.

    `arm` it again now and then: what is watched may have been removed and made anew.
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
        """Watch what stands at the path now; false if no watch can be had."""
        with self._lock:
            directory, self._name = self._path, ""
            if not os.path.isdir(directory):
                directory, self._name = os.path.split(directory)
                directory = directory or "."
            try:
                found = os.stat(directory)
            except OSError:
                self._end()
                return False
            wanted = (os.path.realpath(directory), found.st_dev, found.st_ino)
            if wanted != self._watched or not self._is_alive():
                self._end()
                self._observer = watch(wanted[0], _KINDS, self._happened)
                self._watched = wanted
            return self._observer is not None

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._observer is not None:
            self._observer.stop()
        self._observer = None

    def _is_alive(self) -> bool:
        """Whether the directory that is watched still exists."""
        return self._observer is not None and all(
            emitter.should_keep_running() for emitter in self._observer.emitters
        )

    def _happened(self, event: FileSystemEvent) -> None:
        paths = os.fsdecode(event.src_path), os.fsdecode(event.dest_path)
        if not self._is_pending and any(map(self._counts, paths)):
            self._is_pending = True
            timer = threading.Timer(BURST_SECONDS, self._tell)
            timer.daemon = True
            timer.start()

    def _counts(self, path: str) -> bool:
        directory, name = os.path.split(path)
        if self._watched is None or directory != self._watched[0]:
            return bool(path)  # the directory itself is gone
        if name == DATA_LINK:
            return True
        return name == self._name if self._name else not name.startswith("..")

    def _tell(self) -> None:
        self._is_pending = False  # what happens from here on is told anew
        self._changed()
