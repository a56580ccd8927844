"""Keeps on the volume what outlasts restarts. A file is written only if it differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.domain.newest import encode_marks
from agent.domain.wishes import Wishes, encode_wishes
from agent.publish.memory import LAST_GOOD, NEWEST, TUNING, WISHES
from resentry.contract import encode_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.newest import Mark
    from agent.publish.volume import Volume
    from resentry.contract import Snapshot


def keep_wishes(volume: Volume, wishes: Wishes) -> None:
    """Keep what an operator asked for."""
    body, kept = encode_wishes(wishes), volume.memory.read(WISHES)
    if body != kept and (kept is not None or wishes != Wishes()):
        volume.keep(WISHES, body)


def keep_newest(volume: Volume, newest: Mapping[str, Mark]) -> None:
    """Keep the newest version of each secret."""
    body = encode_marks(newest)
    if newest and body != volume.memory.read(NEWEST):
        volume.keep(NEWEST, body)


def keep_last_good(volume: Volume, of_source: Snapshot) -> None:
    """Keep the last good snapshot of the source."""
    kept = volume.memory.read_snapshot(LAST_GOOD)
    if kept is None or not kept.is_same(of_source):
        volume.keep(LAST_GOOD, encode_snapshot(of_source))


def keep_tuning(volume: Volume, tuning: bytes | None) -> None:
    """Keep the last good tuning, if there is any."""
    if tuning is not None and tuning != volume.memory.read(TUNING):
        volume.keep(TUNING, tuning)
