"""Who is told over HTTP, with what, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far one receiver has got. `receiver` is its host: a URL may hold a secret."""

    receiver: str
    revision: str | None = None
    """What was delivered last, with its `sequence`."""
    sequence: int = 0
    failures: int = 0
    """In a row; 0 once the newest is delivered."""
    error: str | None = None
    since: float | None = None
    """When it was delivered, or began to fail: seconds since the epoch."""


def is_expected(status: int, expected: str) -> bool:
    """Whether a receiver's answer means that it was told."""
    return 200 <= status < 300 if expected == "2xx" else status == int(expected)


def receiver_names(urls: Iterable[str]) -> list[str]:
    """Name each URL by its host; a second one of the same host gets a number."""
    names: list[str] = []
    for url in urls:
        place = urlsplit(url).netloc
        taken = sum(name.partition(" ")[0] == place for name in names)
        names.append(f"{place} {taken + 1}" if taken else place)
    return names
