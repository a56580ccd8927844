"""The status: from the running agent and from the volume, or from the volume alone."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import structs

from agent.call import STATUS, STATUS_SECONDS, Silent, call_once, identity
from agent.confirm.receipts import Receipts
from agent.domain.wishes import decode_wishes, held_document
from agent.errors import AgentError, PublishError
from agent.locks import stopped_holder
from agent.observe import document
from agent.observe.results import Origin
from agent.publish.memory import HISTORY_DIR, LAST_GOOD, STATE, TUNING, WISHES
from agent.publish.names import PRIVATE_DIR
from agent.publish.volume import LOCK_FILE, Volume
from resentry import formats
from resentry.contract import DATA_LINK, RECEIPTS_DIR, SETTINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.rollout import Rollout
    from agent.observe.results import Agent, StatusResult
    from agent.settings import Settings
    from resentry.contract import Snapshot

COPIED = (
    DATA_LINK,
    SETTINGS_FILE,
    RECEIPTS_DIR,
    PRIVATE_DIR,
    f"{PRIVATE_DIR}/{HISTORY_DIR}",
)
"""What is read of a copied volume."""
LOOK_SECONDS = 0.2
"""The time between two looks of a command that waits."""
UNRESPONSIVE_HINT = "read its log, then restart it: the snapshot stays published"
LIVES: dict[bool | None, Agent] = {
    True: "running",
    False: "not running",
    None: "unknown",
}


class Gathered(NamedTuple):
    """What agent and volume tell."""

    status: StatusResult
    current: Snapshot | None
    rollout: Rollout


class Told(NamedTuple):
    """What the agent at the control socket told."""

    state: Mapping[str, Any] | None = None
    """What only the agent knows; `None` if it did not say."""
    why: str = ""
    """Why the agent did not say it."""
    is_stuck: bool = False
    """Whether an agent is there that does not answer, or ends no pass."""


def gather(
    settings: Settings, *, is_asking: bool = True, copied_at: float | None = None
) -> StatusResult:
    """Return the result of `status`. It only reads."""
    return gather_all(settings, is_asking=is_asking, copied_at=copied_at).status


def gather_all(
    settings: Settings, *, is_asking: bool = True, copied_at: float | None = None
) -> Gathered:
    """Return the result of `status`, and what it was made from. It only reads.

    Snapshot and receipts are read from the volume. What only the agent knows is asked
    from the running agent; if it does not answer, its state file tells what was so then.
    Without `is_asking` only the volume is read. A volume that was `copied_at` some time
    is read alone: nobody holds a lock there.
    """
    is_copy = copied_at is not None
    volume = Volume(settings.dir, settings.receipts_dir)
    current = published(volume)
    late = False
    if current is not None:
        with contextlib.suppress(ValueError):  # not the agent's own writing
            began = formats.moment(current.published_at)
            now = time.time() if copied_at is None else copied_at
            late = now - began > settings.confirm_seconds
    receipts = Receipts(settings.receipts_dir, is_copy=is_copy)
    rollout = receipts.rollout(current, settings.min_targets, late=late)
    has_agent = volume.is_open()
    told = Told()
    if is_asking and not is_copy and has_agent is not False:
        told = _ask_agent(settings)
    agent = LIVES[None if is_copy and not has_agent else has_agent]
    if told.is_stuck or (told.why and stopped_holder(settings.dir, LOCK_FILE)):
        agent = "not responding"
    elif told.state is not None:
        agent = "running"  # also if its lock has vanished with the volume
    saved = _saved(volume) if told.state is None else told.state
    origin = Origin(
        by="volume" if told.state is None else "agent",
        at=_moment(saved.get("written_at")),
        why=told.why,
    )
    status = document.status(agent, current, rollout, saved, origin)
    return Gathered(status, current, rollout)


def _ask_agent(settings: Settings) -> Told:
    path = settings.control_path
    try:
        answer = call_once(path, STATUS, STATUS_SECONDS)
    except Silent:
        why = f"no answer at the control socket {path} within {STATUS_SECONDS:g} s"
        return Told(why=why, is_stuck=True)
    except AgentError as error:
        return Told(why=error.what)
    stuck = str(answer.get("stuck", ""))
    if answer.get("volume") != identity(settings.dir):
        other = f"the agent at the control socket {path} has another volume"
        return Told(why=f"{other}: {answer.get('dir')}")
    state = document.decode_state(json.dumps(answer.get("state")).encode())
    return Told(state, stuck, is_stuck=bool(stuck))


def _saved(volume: Volume) -> Mapping[str, Any]:
    """Return what the last agent wrote. The rollback has a file of its own."""
    saved = document.decode_state(volume.memory.read(STATE))
    held = decode_wishes(volume.memory.read(WISHES)).held
    last_good = volume.memory.read_snapshot(LAST_GOOD)
    tuning = volume.memory.read_snapshot(TUNING) if saved.get("tuning") else None
    if last_good is not None and tuning is not None:
        from agent.domain.tuning_file import layered  # noqa: PLC0415 - most have none

        last_good = layered(last_good, tuning)
    return {**saved, **held_document(held, last_good)}


def _moment(text: object) -> str | None:
    try:
        formats.moment(text)
    except ValueError:
        return None
    return str(text)


def copied(settings: Settings, directory: str) -> tuple[Settings, float]:
    """Return the settings for a copy of a volume, and when it was written to last.

    A copy may come from anybody. So a copy with links that leave it is refused: they name
    files of this machine. How many processes must confirm is not known.
    """
    top = os.path.realpath(directory)
    for name in COPIED:
        place = os.path.realpath(f"{top}/{name}")
        if not place.startswith(f"{top}/"):
            raise PublishError(
                f"{top}/{name} is a link to {place}, outside the copied volume",
                f"remove the link {top}/{name}, or copy the volume again with `cp -a`",
            )
    settings = structs.replace(settings, dir=top, receipts="", min_targets={})
    return settings, min(_last_change(settings), time.time())


def _last_change(settings: Settings) -> float:
    times = [0.0]
    for folder in (settings.dir, settings.receipts_dir, f"{settings.dir}/agent"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            times += [entry.stat(follow_symlinks=False).st_mtime for entry in entries]
    return max(times)


def published(volume: Volume) -> Snapshot | None:
    """Return the published snapshot; raise `PublishError` if this user cannot read it."""
    current = volume.current()
    if current is None:
        must_be_readable(f"{volume.directory}/{SETTINGS_FILE}")
    return current


def must_be_published(volume: Volume) -> Snapshot:
    """Return the published snapshot; raise `PublishError` if there is none."""
    current = published(volume)
    if current is None:
        raise PublishError(
            f"no snapshot is published on the volume {volume.directory}",
            "resentry-agent status shows what the agent does; --dir names another volume",
        )
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
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return error
    return None
