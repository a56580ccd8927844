"""Newer is newer: whether a read of a secret is older than one that came before.

A standby that lags, or a Vault that was restored from a backup, answers with an older
version. A secret that was deleted and written anew begins at version 1 again, but its time
is newer.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from resentry import formats
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping


KEPT = 100
"""The number of secrets whose newest version is remembered; more if more are read."""
_PORTS = {"http": 80, "https": 443}


class Mark(NamedTuple):
    """A version of one secret. Times are seconds since the epoch; 0 is not known."""

    version: int
    created: float = 0.0
    """When this version was written."""
    replaced: float = 0.0
    """When the newest version of the deleted secret was written that this one replaced."""

    @property
    def shown(self) -> str:
        """The version for people, as `version 3 of 2026-01-31T12:00:00Z`."""
        created = f" of {time_text(self.created, 'seconds')}" if self.created else ""
        return f"version {self.version}{created}"


def place_of(path: str, address: str, namespace: str) -> str:
    """Return what names a secret across restarts, however its place is spelled.

    The same path at another address is another secret. The path of an address may be a
    password, so a digest stands for it.
    """
    parts = urlsplit(address)
    host, below = (parts.hostname or "").rstrip("."), _joined(parts.path)
    with contextlib.suppress(ValueError):  # a name
        host = ipaddress.ip_address(host).compressed
    where = f"{parts.scheme}://"
    if host:
        host = f"[{host}]" if ":" in host else host
        where += f"{host}:{parts.port or _PORTS.get(parts.scheme, '')}"
    if below:
        where += f" ({hashlib.sha256(below.encode()).hexdigest()[:8]})"
    return " ".join(filter(None, (_joined(path), "at", where, _joined(namespace))))


def _joined(path: str) -> str:
    return "/".join(filter(None, path.split("/")))


def remembered(newest: Mapping[str, Mark], read: Mapping[str, Mark]) -> dict[str, Mark]:
    """Return the newest versions after a read. Those that were read last stay."""
    others = {name: mark for name, mark in newest.items() if name not in read}
    return dict([*others.items(), *read.items()][-max(KEPT, len(read)) :])


def mark_of(metadata: Mapping[str, object]) -> Mark | None:
    """Return the version that KV metadata names; `None` if it names no version."""
    version = metadata.get("version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        return None
    try:
        return Mark(version, formats.moment(metadata.get("created_time")))
    except ValueError:
        return Mark(version)


def is_older(mark: Mark, newest: Mark) -> bool:
    """Return true if `mark` is older than the newest version that was read before.

    A lower version whose time is not known counts as older.
    """
    if mark.version < newest.version:
        return mark.created <= newest.created
    if not mark.created:
        return False
    is_same_number = mark.version == newest.version
    if is_same_number and mark.created < newest.created:
        return True
    return mark.created <= newest.replaced


def after(mark: Mark, newest: Mark | None) -> Mark:
    """Return the newest version after a read that is not older."""
    if newest is None:
        return mark
    is_new_life = mark.version <= newest.version and mark.created > newest.created
    return mark._replace(replaced=newest.created if is_new_life else newest.replaced)


def encode_marks(marks: Mapping[str, Mark]) -> bytes:
    """Return the file that keeps the newest versions, by secret."""
    return json.dumps(marks, indent=1).encode()


def decode_marks(body: bytes | None) -> dict[str, Mark]:
    """Read the file that keeps the newest versions. What cannot be read is left out."""
    try:
        document = dict(json.loads(body or b"{}"))
    except (ValueError, TypeError, RecursionError):
        return {}
    return {name: mark for name, item in document.items() if (mark := _mark(item))}


def _mark(item: Any) -> Mark | None:
    try:
        version, created, replaced = item
        return Mark(formats.whole(str(version)), _seconds(created), _seconds(replaced))
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _seconds(value: object) -> float:
    seconds = formats.number(value)
    time_text(seconds)  # raises where no calendar has that moment
    return seconds
