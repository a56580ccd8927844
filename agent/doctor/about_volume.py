"""Rules on the agent's process, and on the shared volume."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from agent.doctor.about_targets import targets
from agent.doctor.processes import in_kubernetes
from agent.doctor.rule import Sight, SkippedError, UnknownError, rule
from agent.domain.view import VOLUME
from agent.errors import PublishError, SettingsError
from agent.locks import stopped_holder
from agent.publish.files import gid_of
from agent.publish.lock import Lock
from agent.publish.volume import LOCK_FILE
from resentry.advice import SUBPATH, is_mounted_alone
from resentry.contract import SETTINGS_FILE, ContractError
from resentry.reader import SharedDir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts

_RESTART = (
    "see what it did last in its log, then restart the agent: what is published stays"
)
_ROOM_SHARE = 0.05
_ROOM_BYTES = 4 * 1024 * 1024
_FULL_BYTES = 8192
"""A process needs so much for its receipt."""


@rule(
    "RSN501",
    "nothing-published",
    "error",
    "volume",
    "Nothing is published",
    fix="`resentry-agent check` tells what stands before it",
    causes=(
        "RSN101",
        "RSN201",
        "RSN202",
        "RSN301",
        "RSN302",
        "RSN502",
        "RSN505",
        "RSN508",
    ),
)
def nothing(facts: Facts) -> Iterator[Sight]:
    """Look for a snapshot on the volume, under the name that processes read.

    Applications run with their own environment variables, or keep what they run.
    """
    if facts.current is None:
        yield Sight(facts.settings.dir, "the volume has no snapshot")
        return
    path = f"{facts.settings.dir}/{SETTINGS_FILE}"
    sequence = facts.current.sequence
    fix = f"remove {path}: the agent makes the link again"
    try:
        read = SharedDir(facts.settings.dir, "", expected=True).read()
    except OSError as error:
        yield Sight(path, f"processes cannot read this file: {error.strerror}")
    except ContractError as error:
        yield Sight(path, f"processes cannot read this file: {error}", fix=fix)
    else:
        if read.sequence < sequence:
            detail = f"processes read sequence {read.sequence} here"
            yield Sight(path, f"{detail}; sequence {sequence} is published", fix=fix)


@rule(
    "RSN502",
    "no-agent",
    "error",
    "volume",
    "No agent runs",
    fix="start `resentry-agent run`, or correct RESENTRY_DIR; in Kubernetes, see why it ended: `kubectl describe pod POD`",
    causes=("RSN101",),
)
def no_agent(facts: Facts) -> Iterator[Sight]:
    """Look for an agent that holds the volume.

    Applications keep running what is published. No change at the source reaches them.

    Wake who runs the pod, if it does not come back by itself.
    """
    if facts.status.agent == "unknown":
        if not os.path.lexists(f"{facts.own.dir}/{LOCK_FILE}"):
            yield Sight(facts.settings.dir, "no agent ever ran on this volume")
            return
        raise UnknownError(facts.why_unknown)
    if facts.status.agent == "not running":
        yield Sight(facts.own.dir, "no process holds the lock of the volume")


@rule(
    "RSN508",
    "agent-silent",
    "error",
    "volume",
    "The agent does not respond",
    fix="see what it did last with `kubectl logs POD -c resentry-agent`, then restart the agent: what is published stays",
)
def silent(facts: Facts) -> Iterator[Sight]:
    """Ask the running agent for its status, at its control socket.

    The agent is stopped, its passes come to no end, or its machine is overloaded.
    Applications keep running what is published. No change at the source reaches them.

    Wake who runs the pod, if it does not come back by itself.
    """
    if facts.status.agent not in ("running", "not responding"):
        raise SkippedError("no agent is known to run")
    if facts.status.agent == "not responding":
        why = facts.status.origin.why or "its passes come to no end"
        fix = "" if in_kubernetes(facts) else _RESTART
        if pid := stopped_holder(facts.own.dir, LOCK_FILE):
            why, fix = f"its process is stopped: pid {pid}; {why}", f"kill -CONT {pid}"
        yield Sight(facts.own.dir, why, since=facts.status.origin.at or "", fix=fix)


@rule(
    "RSN509",
    "two-agents",
    "error",
    "volume",
    "Two agents want one volume",
    fix="give each pod a volume of its own, or stop one of the agents",
)
def rival(facts: Facts) -> Iterator[Sight]:
    """Look for an agent that waits until another one gives the volume up.

    One agent publishes, by its own settings, and the other waits. Nobody knows which one
    it will be after the next restart.
    """
    has_rival = Lock(f"{facts.own.dir}/{LOCK_FILE}").has_rival()
    if has_rival is None:
        raise UnknownError(f"the lock {LOCK_FILE} of a waiting agent cannot be read")
    if has_rival:
        yield Sight(facts.settings.dir, "an agent waits for the lock of another one")


@rule(
    "RSN503",
    "subpath",
    "error",
    "volume",
    "A process sees the volume by subPath, so the snapshot never changes there",
    fix="in the container's volumeMounts: mount the whole volume, without subPath",
)
def subpath(facts: Facts) -> Iterator[Sight]:
    """Look at what each process says of its mount, and whether the file is mounted here.

    A process that sees the snapshot's file as a mount of its own keeps the snapshot of its
    start for ever. The other processes follow.
    """
    path = f"{facts.settings.dir}/{SETTINGS_FILE}"
    if is_mounted_alone(path):
        yield Sight(path, "this file is a mount of its own")
        return
    for target in targets(facts):
        if SUBPATH in (target.receipt.error or ""):
            yield Sight(target.name, target.receipt.error or "")


def _must_exist(facts: Facts) -> None:
    if not os.path.isdir(facts.own.dir):
        raise SkippedError("the volume does not exist")


def _group(facts: Facts) -> int | None:
    try:
        return gid_of(facts.own.group)
    except SettingsError:  # RSN101 says so
        return None


@rule(
    "RSN504",
    "volume-mode",
    "error",
    "volume",
    "Applications cannot read the volume",
    fix="set RESENTRY_GROUP to a group of the applications; in Kubernetes: fsGroup",
)
def mode(facts: Facts) -> Iterator[Sight]:
    """Look at modes and groups of the volume and of the receipts' directory.

    A process needs the directory's group to read, and to write its receipt.
    """
    _must_exist(facts)
    for path, bits in (
        (facts.own.dir, 0o050),
        (facts.settings.receipts_dir, 0o030),
    ):
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_mode & bits != bits:
            shown = stat.filemode(status.st_mode)
            yield Sight(
                path, f"group {status.st_gid} has no access: its mode is {shown}"
            )
        wanted = _group(facts)
        if wanted not in (None, status.st_gid):
            detail = f"it has group {status.st_gid}; RESENTRY_GROUP names {wanted}"
            yield Sight(path, detail)


@rule(
    "RSN505",
    "volume-not-writable",
    "error",
    "volume",
    "The agent cannot write the volume",
    fix="look at owner, free space and mount options: `ls -ld DIR`, `df -h DIR`",
)
def not_writable(facts: Facts) -> Iterator[Sight]:
    """Look at the agent's last pass, and at its problems, for an error of the volume.

    The last snapshot stays. The agent tries again soon, and needs nobody after the cause
    is gone.
    """
    source = facts.last_pass
    if source.error == PublishError.__name__:
        yield Sight(
            facts.settings.dir,
            source.sentence,
            since=source.since or "",
            fix=source.hint,
        )
        return
    for problem in facts.status.problems:
        if problem.setting == VOLUME:
            yield Sight(facts.settings.dir, problem.what, fix=problem.hint)


@rule(
    "RSN506",
    "volume-nearly-full",
    "warning",
    "volume",
    "The volume is nearly full",
    fix="see who takes the room with `du -a DIR`; make room, or give the volume a larger size limit",
)
def nearly_full(facts: Facts) -> Iterator[Sight]:
    """Look at the free space of the volume and of the receipts' directory.

    The next snapshot, or the next receipt, may not fit. If less than 8 KiB or no inode is
    left, it is an error: nothing fits any more.
    """
    _must_exist(facts)
    for path in dict.fromkeys((facts.own.dir, facts.own.receipts_dir)):
        try:
            room = os.statvfs(path)
        except OSError:
            continue
        free, size = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        has_no_inode = room.f_files and not room.f_favail
        is_full = has_no_inode or (size and free < _FULL_BYTES)
        if is_full or free < min(_ROOM_BYTES, size * _ROOM_SHARE):
            detail = f"{free // 1024:,} KiB of {size // 1024:,} KiB are free"
            yield Sight(
                path,
                "no inode is free" if has_no_inode else detail,
                fix=f"see who takes the room: du -a {path}; then make room",
                severity="error" if is_full else None,
            )


@rule(
    "RSN507",
    "receiver-fails",
    "warning",
    "volume",
    "A receiver does not take the notification",
    fix="try it by hand: `curl -i -X POST URL`",
)
def receiver_fails(facts: Facts) -> Iterator[Sight]:
    """Look at the deliveries to `RESENTRY_NOTIFY_URLS`.

    Processes of this pod follow all the same. What the receiver does is not done.
    """
    if not facts.status.notify:
        raise SkippedError("there are no receivers")
    for receiver in facts.status.notify:
        if receiver.error:
            yield Sight(
                receiver.receiver,
                f"failed {receiver.failures} times: {receiver.error}",
                since=receiver.since or "",
            )
