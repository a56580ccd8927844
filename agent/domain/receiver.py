"""The receivers of notifications over HTTP, and how far each has got."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable


class Delivery(Value, frozen=True):
    """The state of one receiver. `receiver` is its host: a URL may hold a secret."""

    receiver: str
    revision: str | None = None
    """The revision that the receiver was last notified of, with its `sequence`."""
    sequence: int = 0
    failures: int = 0
    """The number of failures in a row; 0 once the newest revision is delivered."""
    error: str | None = None
    since: float | None = None
    """When the last delivery succeeded or the failures began: seconds since the epoch."""


def is_expected(status: int, expected: str) -> bool:
    """Return true if the receiver's status means success."""
    return 200 <= status < 300 if expected == "2xx" else status == int(expected)


def receiver_names(urls: Iterable[str]) -> list[str]:
    """Name each URL by its host. A further URL of the same host gets a number."""
    names: list[str] = []
    for url in urls:
        host = urlsplit(url).netloc
        taken = sum(name.partition(" ")[0] == host for name in names)
        names.append(f"{host} {taken + 1}" if taken else host)
    return names
