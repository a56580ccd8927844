"""Snapshots that tests of the volume publish, and what is then on the volume."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from resentry.contract import Snapshot, revision_of

if TYPE_CHECKING:
    from pathlib import Path

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
CONTENT = {"SENTRY_DSN": DSN, "SENTRY_SEND_PII": False, "SENTRY_SAMPLE_RATE": 0.5}
FIRST = Snapshot(CONTENT, revision=revision_of(Snapshot(CONTENT)))
SECOND = Snapshot({"SENTRY_DSN": DSN}, revision="b" * 12)
FIXED = {"settings.json", "sentry.env"}
"""The files that each snapshot has."""


def of(**settings: Any) -> Snapshot:
    return Snapshot(settings, revision="".join(settings)[:12])


def values(directory: Path) -> dict[str, str]:
    """What a reader finds under the visible names of single settings."""
    return {
        path.name: path.read_text()
        for path in directory.iterdir()
        if path.is_symlink() and path.name not in {*FIXED, "..data"}
    }


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)
