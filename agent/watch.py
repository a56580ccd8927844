"""inotify of one directory, by watchdog: no wake-up while nothing happens."""

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
    """Call `happened` from a daemon thread at every event of these kinds.

    Returns `None` if no watch can be had: no inotify instance is left on the node, or
    no such directory. The watch of a directory ends with it.
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
