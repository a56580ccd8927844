"""Reads the settings whose text has a form of its own. Each reader raises `ValueError`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from agent.domain.guard_rails import ANY
from resentry import formats
from resentry.contract import signal_number

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_STATUS = re.compile(r"2xx|[1-5][0-9]{2}")


class Address(NamedTuple):
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(text: str) -> Address | None:
    """Read `HOST:PORT`; nothing and `off` are no address."""
    if text in ("", "off"):
        return None
    host, _, port = text.rpartition(":")
    try:
        number = formats.whole(port)
    except ValueError:
        number = -1
    if not host or not 0 <= number <= 65535:
        raise ValueError(f"{text} is not HOST:PORT, as 127.0.0.1:19464, nor off")
    return Address(host.strip("[]"), number)


def allowed_dsns(entries: Iterable[str]) -> tuple[tuple[str, str, str], ...]:
    """Read `ENVIRONMENT=HOST[/PROJECT]` entries."""
    allowed = []
    for entry in entries:
        environment, equals, target = entry.partition("=")
        host, _, project = target.partition("/")
        is_complete = environment and equals and host
        is_number = project.isascii() and project.isdigit()
        if not is_complete or not (project in ("", ANY) or is_number):
            raise ValueError(
                f"{entry} is not ENVIRONMENT=HOST or ENVIRONMENT=HOST/PROJECT"
            )
        allowed.append((environment, host, project or ANY))
    return tuple(allowed)


def rates(entries: Iterable[str]) -> dict[str, float]:
    """Read `ENVIRONMENT=RATE` entries."""
    rates = {}
    for entry in entries:
        environment, _, rate = entry.partition("=")
        if not environment:
            raise ValueError(f"{entry} is not ENVIRONMENT=RATE")
        rates[environment] = formats.rate(rate)
    return rates


def counts(entries: Iterable[str]) -> dict[str, int]:
    """Read `ROLE=NUMBER` entries."""
    counts = {}
    for entry in entries:
        role, _, number = entry.partition("=")
        try:
            counts[formats.role(role)] = formats.whole(number)
        except ValueError:
            raise ValueError(f"{entry} is not ROLE=NUMBER") from None
    return counts


def urls(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the URLs. The error does not quote a URL, which may hold a secret."""
    urls = tuple(entries)
    for number, url in enumerate(urls, 1):
        try:
            parts = urlsplit(url)
            is_web = parts.scheme in ("http", "https") and bool(parts.hostname)
            good = is_web and parts.username is None and parts.port != 0
        except ValueError:
            good = False
        if not good or not _PRINTABLE.fullmatch(url):
            raise ValueError(
                f"number {number} is not http(s)://HOST[:PORT]/PATH; a password belongs "
                "in RESENTRY_NOTIFY_HEADERS"
            )
    return urls


def headers(text: str) -> dict[str, str]:
    """Read one `Name: value` per line. The error does not quote a value."""
    headers = {}
    for number, line in enumerate(filter(str.strip, text.split("\n")), 1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        is_name, is_value = _HEADER_NAME.fullmatch(name), _PRINTABLE.fullmatch(value)
        if not (colon and is_name and is_value):
            raise ValueError(f"line {number} is not `Name: value`")
        headers[name] = value
    return headers


def signal(text: str) -> int | None:
    """Read `SIGRTMIN+n`; `off` is no signal. The error does not name the setting."""
    try:
        return signal_number(text)
    except ValueError:
        raise ValueError("must be SIGRTMIN+n, or off") from None


def status(text: str) -> str:
    """Return the expected status: a number, or `2xx`."""
    if not _STATUS.fullmatch(text):
        raise ValueError("must be a status code, or 2xx for any success")
    return text
