"""Reads the settings whose text has a form of its own. Each reader raises `ValueError`."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from agent.domain.guard_rails import AllowedDsn, allowed_dsn
from agent.domain.value import Value
from agent.redact import is_path
from resentry import formats
from resentry.contract import signal_number
from resentry.values import environment_name

if TYPE_CHECKING:
    from collections.abc import Iterable

PATH_BYTES = 2000
"""The system takes 4,096 bytes, and the agent's own names come on top."""
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
_SLUG = re.compile(r"[a-z0-9_-]{1,50}")
_STATUS = re.compile(r"2xx|[1-5][0-9]{2}")


class Address(Value, frozen=True):
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
        raise ValueError("must be HOST:PORT, as 127.0.0.1:19464, or off")
    return Address(host.strip("[]"), number)


def directory(text: str) -> str:
    """Return the path of the volume. An empty text would be the root directory."""
    if not text:
        raise ValueError("must be a path that begins with / or ./; it is empty")
    return path(text)


def path(text: str) -> str:
    """Return the path. Log and errors show it, so it must look like a path.

    A directory with the name `~` would help nobody.
    """
    if text.startswith("~"):
        raise ValueError("must not begin with ~, which only a shell replaces")
    if text and not is_path(text):
        raise ValueError("must be a path that begins with / or ./")
    if len(os.fsencode(text)) > PATH_BYTES:
        raise ValueError(f"must have at most {PATH_BYTES} bytes")
    return text


def environment(text: str) -> str:
    """Return the environment. None is no environment: that would loosen production."""
    if not text:
        raise ValueError("must be the name of an environment, as production")
    return text


def environments(entries: Iterable[str]) -> tuple[str, ...]:
    """Return the names in the form in which environments are compared."""
    return tuple(map(environment_name, entries))


def allowed_dsns(entries: Iterable[str]) -> tuple[AllowedDsn, ...]:
    """Read `ENVIRONMENT=HOST[:PORT][/PROJECT]` entries. The error quotes none of them."""
    allowed = []
    for number, entry in enumerate(entries, 1):
        try:
            allowed.append(allowed_dsn(entry))
        except ValueError as error:
            raise ValueError(f"entry {number} {error}") from None
    return tuple(allowed)


def rates(entries: Iterable[str]) -> dict[str, float]:
    """Read `ENVIRONMENT=RATE` entries."""
    rates: dict[str, float] = {}
    for number, entry in enumerate(entries, 1):
        name, _, rate = entry.partition("=")
        environment = environment_name(name)
        if not environment:
            raise ValueError(f"entry {number} is not ENVIRONMENT=RATE")
        if environment in rates:
            raise ValueError(f"entry {number} is the second one for its environment")
        try:
            rates[environment] = formats.rate(rate)
        except ValueError as error:
            raise ValueError(f"the rate of entry {number} {error}") from None
    return rates


def counts(entries: Iterable[str]) -> dict[str, int]:
    """Read `ROLE=NUMBER` entries."""
    counts = {}
    for place, entry in enumerate(entries, 1):
        role, _, number = entry.partition("=")
        try:
            counts[formats.role(role)] = formats.whole(number)
        except ValueError:
            raise ValueError(f"entry {place} is not ROLE=NUMBER") from None
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


def slug(text: str) -> str:
    """Return the name of a monitor, as Sentry takes it."""
    if not _SLUG.fullmatch(text):
        raise ValueError("must be at most 50 of a-z, 0-9, _ and -")
    return text


def server(text: str) -> str:
    """Read the address of a server; empty for none. The error does not quote it."""
    if not text:
        return ""
    try:
        (url,) = urls((text,))
    except ValueError:
        raise ValueError(
            "must be http(s)://HOST[:PORT], without user and key"
        ) from None
    return url.rstrip("/")


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
