"""The files of a snapshot, the directories around them, and the errors of both."""

from __future__ import annotations

import contextlib
import grp
import os
import re
import stat
from typing import TYPE_CHECKING, Any

from agent.errors import PublishError, SettingsError
from resentry.contract import (
    ENV_FILE,
    LOCK_SUFFIX,
    RECEIPT_SUFFIX,
    SETTINGS_FILE,
    TARGET_ID,
    ContractError,
    Snapshot,
    encode_snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIR_MODE = 0o750
FILE_MODE = 0o640
PRIVATE_MODE = 0o700
READ_LIMIT_BYTES = 4 * 1024 * 1024
"""The agent writes no larger file. Whoever sent a copy of a volume may have."""
RECEIPTS_MODE = 0o3770
_PARENT_MODE = 0o755
_NO_GID = 2**32 - 1
"""To `chown` this means: change nothing."""
_TEMPORARY = re.compile(r"\.[0-9a-f]{8}\.tmp\Z|/\.\.(?!data(?:/|\Z))[^/]*")
"""What differs from try to try in the path of a file that is being written."""


def files_of(snapshot: Snapshot) -> dict[str, bytes]:
    """Return the files of one snapshot, by name. Raises if no library could read it."""
    try:
        body = encode_snapshot(snapshot)
    except ContractError as error:
        raise PublishError(f"no process could read the snapshot: {error}") from None
    texts = {key: _as_text(value) for key, value in snapshot.settings.items()}
    dotenv = "".join(f"{key}={text}\n" for key, text in texts.items())
    return {
        SETTINGS_FILE: body,
        ENV_FILE: dotenv.encode(),
        **{key: text.encode() for key, text in texts.items()},
    }


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_file(path: str) -> bytes | None:
    """Return the content of a regular file; `None` if there is none that can be read.

    Links, pipes and devices are not read, and no file larger than `READ_LIMIT_BYTES`.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW
    try:
        with open(os.open(path, flags), "rb") as file:
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                body = file.read(READ_LIMIT_BYTES + 1)
                return body if len(body) <= READ_LIMIT_BYTES else None
    except OSError:
        pass
    return None


def write_file(path: str, body: bytes, gid: int | None) -> None:
    """Make a file that was not there, with mode and group, and flush it to the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(file, view) :]
        if gid is not None:
            os.fchown(file, -1, gid)
        os.fchmod(file, FILE_MODE)  # the umask must not decide
        os.fsync(file)
    finally:
        os.close(file)


def flush(directory: str) -> None:
    """Have the names in a directory written to the disk."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_dir(path: str, mode: int, gid: int | None) -> bool:
    """Make a directory with mode and group. Returns false if something is there already.

    Parents that are missing are made, too. Nobody else may write to these parents,
    whatever the umask is.
    """
    _make_parents(os.path.abspath(path))
    try:
        os.mkdir(path, PRIVATE_MODE)
    except FileExistsError:
        return False
    own(path, mode, gid)
    return True


def _make_parents(path: str) -> None:
    missing = []
    while not os.path.lexists(path := os.path.dirname(path)):
        missing.append(path)
    for parent in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, _PARENT_MODE)


def own(path: str, mode: int, gid: int | None) -> str:
    """Give a file or directory its mode and its group, where they differ.

    Returns what was changed, in words; empty if nothing was. A link is left alone.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ""
    changed = []
    if gid not in (None, status.st_gid):
        os.chown(path, -1, gid or 0)
        changed.append(f"group {gid} instead of {status.st_gid}")
    if stat.S_IMODE(status.st_mode) != mode:
        changed.append(f"mode {mode:o} instead of {stat.S_IMODE(status.st_mode):o}")
    if not changed:
        return ""
    os.chmod(path, mode)  # a new group may have taken bits away
    return f"gave {path} {' and '.join(changed)}"


def own_files(directory: str, names: Iterable[str], gid: int | None) -> list[str]:
    """Give a published directory and its files mode and group. Return what was changed."""
    directory = os.path.realpath(directory)
    modes = {directory: DIR_MODE} | {f"{directory}/{name}": FILE_MODE for name in names}
    changed = []
    for path, mode in modes.items():
        with contextlib.suppress(PermissionError):  # not ours, or no modes here
            changed.append(own(path, mode, gid))
    return changed


def make_receipts(path: str, gid: int | None) -> str:
    """Make the receipts' directory. Returns what was done, in words; empty if nothing.

    An existing directory gets mode and group only if it is the agent's own: it belongs
    to the agent's user and holds nothing but receipts.
    """
    if make_dir(path, RECEIPTS_MODE, gid):
        return f"made {path} again"
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise PublishError(
            f"RESENTRY_RECEIPTS: {path} is not a directory",
            "set RESENTRY_RECEIPTS to a directory that holds nothing else",
        )
    if status.st_uid != os.geteuid():
        if os.geteuid() == 0:  # who may remove receipts anywhere
            return ""
        raise PublishError(
            f"RESENTRY_RECEIPTS: {path} belongs to user {status.st_uid}",
            f"the agent, user {os.geteuid()}, must own the directory: it removes the "
            "receipts of dead processes",
        )
    is_open = stat.S_IMODE(status.st_mode) & 0o1007 == 0o1007  # as /tmp is
    if not is_open and _holds_only_receipts(path):
        return own(os.path.realpath(path), RECEIPTS_MODE, gid)
    return ""


def _holds_only_receipts(path: str) -> bool:
    with os.scandir(path) as entries:
        for entry in entries:
            target, _, rest = entry.name.partition(".")
            suffixes = (RECEIPT_SUFFIX, LOCK_SUFFIX, ".tmp")
            if not TARGET_ID.match(target) or not f".{rest}".endswith(suffixes):
                return False
    return True


def gid_of(group: str) -> int | None:
    """Return the number of a group, or raise `SettingsError`; `None` for no group."""
    if not group:
        return None
    try:
        is_number = group.isascii() and group.isdigit() and len(group) <= 10
        gid = int(group) if is_number else grp.getgrnam(group).gr_gid
    except KeyError:
        gid = _NO_GID
    if gid >= _NO_GID:
        raise SettingsError(
            "RESENTRY_GROUP: this system has no such group",
            "set RESENTRY_GROUP to a number, or to a group in /etc/group",
        )
    return gid


@contextlib.contextmanager
def as_publish_error(directory: str) -> Iterator[None]:
    """Raise an `OSError` as `PublishError`, with the same text at each try."""
    try:
        yield
    except OSError as error:
        path = _TEMPORARY.sub("", str(error.filename or directory))
        raise PublishError(
            f"cannot write {path}: {error.strerror}",
            f"this runs as user {os.geteuid()}: check owner, mount options and free "
            "space of the volume",
        ) from None
