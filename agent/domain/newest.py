"""Newer is newer: whether a read of a secret is older than one that came before.

A standby that lags, or a Vault that was restored from a backup, answers with an older
version. A secret that was deleted and written anew begins at version 1 again, but its time
is newer.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry import formats
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping


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
