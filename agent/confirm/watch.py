"""Notices at once that a receipt was written or removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchdog.events import FileDeletedEvent, FileMovedEvent

from agent.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_receipts(directory: str, changed: Callable[[], None]) -> bool:
    """Call `changed` in a daemon thread. Returns false if no watch can be made.

    The death of a target frees its lock, which makes no event. So the caller also has to
    look from time to time.
    """
    kinds = [FileMovedEvent, FileDeletedEvent]
    return watch(directory, kinds, lambda _event: changed()) is not None
