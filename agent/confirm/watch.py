"""Tells the daemon at once that a receipt came or went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from watchdog.events import FileDeletedEvent, FileMovedEvent

from agent.watch import watch

if TYPE_CHECKING:
    from collections.abc import Callable


def watch_receipts(directory: str, changed: Callable[[], None]) -> bool:
    """Call `changed` from a daemon thread; return false if no watch can be had.

    A target's death shows in its lock, not in a file: compare now and then as well.
    """
    kinds = [FileMovedEvent, FileDeletedEvent]
    return watch(directory, kinds, lambda _event: changed()) is not None
