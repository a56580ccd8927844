"""Watches one directory with inotify, by watchdog. Nothing wakes up without an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchdog.events import FileSystemEventHandler
from watchdog.observers.inotify import InotifyObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from watchdog.events import FileSystemEvent


def watch(
    directory: str,
    kinds: Sequence[type[FileSystemEvent]],
    happened: Callable[[FileSystemEvent], None],
) -> InotifyObserver | None:
    """Call `happened` in a daemon thread at every event of these kinds.

    Returns `None` if the watch cannot be made: no inotify instance is left on the node,
    or the directory is missing. The watch ends when the directory is removed.
    """
    observer: InotifyObserver | None = None
    try:
        observer = InotifyObserver()
        observer.daemon = True
        observer.schedule(_Handler(happened), directory, event_filter=list(kinds))
        observer.start()
    except OSError:
        if observer is not None:
            observer.stop()
        return None
    return observer


class _Handler(FileSystemEventHandler):
    def __init__(self, happened: Callable[[FileSystemEvent], None]) -> None:
        self._happened = happened

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._happened(event)
