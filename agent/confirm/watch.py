"""Tells the daemon at once that a receipt came or went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchdog.events import FileDeletedEvent, FileMovedEvent, FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

if TYPE_CHECKING:
    from collections.abc import Callable

    from watchdog.events import FileSystemEvent


def watch_receipts(directory: str, changed: Callable[[], None]) -> bool:
    """Call `changed` from a daemon thread; return false if no watch can be had.

    A target's death shows in its lock, not in a file: compare now and then as well.
    """
    observer = InotifyObserver()
    observer.daemon = True
    try:
        observer.schedule(
            _Handler(changed),
            directory,
            event_filter=[FileMovedEvent, FileDeletedEvent],
        )
        observer.start()
    except OSError:  # no inotify instance left on the node
        return False
    return True


class _Handler(FileSystemEventHandler):
    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def on_any_event(self, _event: FileSystemEvent) -> None:
        self._changed()
