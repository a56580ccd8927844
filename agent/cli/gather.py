"""The status as the volume tells it, also while no agent runs."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from agent.confirm.receipts import Receipts
from agent.errors import PublishError
from agent.observe import document
from agent.publish.memory import STATE
from agent.publish.volume import LOCK_FILE, Volume
from resentry import formats
from resentry.contract import SETTINGS_FILE

if TYPE_CHECKING:
    from agent.domain.rollout import Rollout
    from agent.observe.results import Agent, StatusResult
    from agent.settings import Settings
    from resentry.contract import Snapshot

LOOK_SECONDS = 0.2
"""The time between two looks of a command that waits."""
LIVES: dict[bool | None, Agent] = {
    True: "running",
    False: "not running",
    None: "unknown",
}


class Gathered(NamedTuple):
    """What the volume tells."""

    status: StatusResult
    current: Snapshot | None
    rollout: Rollout


def gather(settings: Settings) -> StatusResult:
    """Return the result of `status`. It only reads."""
    return gather_all(settings).status


def gather_all(settings: Settings) -> Gathered:
    """Return the result of `status`, and what it was made from. It only reads."""
    volume = Volume(settings.dir, settings.receipts_dir)
    current = published(volume)
    late = False
    if current is not None:
        with contextlib.suppress(ValueError):  # not the agent's own writing
            began = formats.moment(current.published_at)
            late = time.time() - began > settings.confirm_seconds
    receipts = Receipts(settings.receipts_dir)
    rollout = receipts.rollout(current, settings.min_targets, late=late)
    saved = document.decode_state(volume.memory.read(STATE))
    status = document.status(LIVES[volume.is_open()], current, rollout, saved)
    return Gathered(status, current, rollout)


def published(volume: Volume) -> Snapshot | None:
    """Return the published snapshot; raise `PublishError` if this user cannot read it."""
    current = volume.current()
    if current is None:
        must_be_readable(f"{volume.directory}/{SETTINGS_FILE}")
    return current


def must_be_readable(path: str) -> None:
    """Raise `PublishError` if there may be something that this user cannot read."""
    error = _error_of(path)
    if error is not None and not isinstance(error, FileNotFoundError):
        raise PublishError(
            f"cannot read {path}: {error.strerror}",
            f"this runs as user {os.geteuid()}: run the command as the agent's user, or "
            "check RESENTRY_DIR",
        )


def why_unknown(settings: Settings) -> str:
    """Return why nobody knows whether an agent runs."""
    path = f"{settings.dir}/{LOCK_FILE}"
    error = _error_of(path)
    if error is None or isinstance(error, FileNotFoundError):
        return "no agent ever ran here"
    return f"user {os.geteuid()} cannot read {path}: {error.strerror}"


def _error_of(path: str) -> OSError | None:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError as error:
        return error
    return None
