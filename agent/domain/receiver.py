"""Who is told over HTTP, with what, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_STATUS = re.compile(r"2xx|[1-5][0-9]{2}")


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


def parse_urls(urls: Iterable[str]) -> tuple[str, ...]:
    """Return the URLs, or raise `ValueError` without quoting one."""
    found = tuple(urls)
    for at, url in enumerate(found, 1):
        try:
            parts = urlsplit(url)
            is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
            good = is_web and parts.username is None and parts.port != 0
        except ValueError:
            good = False
        if not good or not _VALUE.fullmatch(url):
            raise ValueError(
                f"number {at} is not http(s)://HOST[:PORT]/PATH; a password belongs "
                "in RESENTRY_NOTIFY_HEADERS"
            )
    return found


def parse_headers(text: str) -> dict[str, str]:
    """Read one `Name: value` a line, or raise `ValueError` without quoting a value."""
    found = {}
    for at, line in enumerate(filter(str.strip, text.split("\n")), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"line {at} is not `Name: value`")
        found[name] = value
    return found


def parse_status(text: str) -> str:
    """Return what status is expected, or raise `ValueError`."""
    if not _STATUS.fullmatch(text):
        raise ValueError("must be a status code, or 2xx for any success")
    return text


def is_expected(status: int, expected: str) -> bool:
    """Whether a receiver's answer means that it was told."""
    return 200 <= status < 300 if expected == "2xx" else status == int(expected)


def shown(urls: Iterable[str]) -> list[str]:
    """Name each URL by its host; a second one of the same host gets a number."""
    names: list[str] = []
    for url in urls:
        place = urlsplit(url).netloc
        taken = sum(name.partition(" ")[0] == place for name in names)
        names.append(f"{place} {taken + 1}" if taken else place)
    return names
