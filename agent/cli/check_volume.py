"""The steps of `check` that look at the volume and at the receipts' directory."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from agent.errors import PublishError
from agent.publish.names import must_be_apart
from agent.publish.volume import FULL, Volume

if TYPE_CHECKING:
    from agent.settings import Settings
    from resentry.contract import Snapshot

TRIED_BYTES = 8192
"""The bytes that must fit on the volume."""


def volume_step(settings: Settings, snapshot: Snapshot | None) -> str:
    """Say whether the agent could publish this snapshot on the volume."""
    directory = settings.dir
    place = directory
    while place and not os.path.lexists(place):
        place = os.path.dirname(place)
    if place and not os.path.isdir(place):
        raise PublishError(
            f"RESENTRY_DIR: {place} is not a directory",
            "set RESENTRY_DIR to a directory",
        )
    is_new = place != directory
    try:
        # Rights alone do not tell: think of /proc, of a full disk, of quotas.
        _try_to_write(place or ".")
    except OSError as error:
        hint = (
            f"this runs as user {os.geteuid()}: give this user write access to "
            f"{place or '.'}, or set RESENTRY_DIR to another directory"
        )
        if error.errno in FULL:
            hint = "make room there, or give the volume a larger size limit"
        raise PublishError(
            f"RESENTRY_DIR: cannot {'create' if is_new else 'write'} {directory}: "
            f"{error.strerror}",
            hint,
        ) from None
    volume = Volume(directory, settings.receipts_dir, settings.group)
    if snapshot is not None:
        volume.must_be_clear(snapshot)
    if volume.is_open():
        return f"{directory} is in use by a running agent"
    return f"{directory} {'will be created' if is_new else 'can be written'}"


def _try_to_write(directory: str) -> None:
    """Make a directory with a file there, and remove both."""
    with (
        tempfile.TemporaryDirectory(prefix="..check.", dir=directory) as folder,
        open(f"{folder}/file", "xb") as file,
    ):
        file.write(bytes(TRIED_BYTES))
        file.flush()
        os.fsync(file.fileno())  # some file systems notice a full disk only now


def receipts_step(settings: Settings) -> str:
    """Say which processes can write receipts."""
    receipts = settings.receipts_dir
    must_be_apart(settings.dir, receipts)
    if not os.path.isdir(receipts):
        return f"{receipts} will be created"
    owner = os.stat(receipts)
    if os.geteuid() not in (0, owner.st_uid):
        raise PublishError(
            f"{receipts} belongs to user {owner.st_uid}",
            f"the agent, user {os.geteuid()}, must own the directory: it removes the "
            "receipts of dead processes",
        )
    mode = f"{owner.st_mode & 0o7777:o}"
    return (
        f"{receipts} has mode {mode}; an application must run as user "
        f"{owner.st_uid} or in group {owner.st_gid}"
    )
