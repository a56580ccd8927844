"""What has arrived at a receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lab.sink import Sink


def messages(sink: Sink, project: int | None = None) -> list[str]:
    """Return the messages of the events, in the order of their arrival."""
    return [event.message for event in sink.events(project)]
