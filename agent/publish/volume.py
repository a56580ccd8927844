"""The shared volume. Every reader sees one whole snapshot, the old or the new one.

Layout and order of steps are those of kubelet's atomic writer
(kubernetes/pkg/volume/util/atomic_writer.go). Unique names and flushes to disk are added.
"""

from __future__ import annotations

import contextlib
import grp
import os
import secrets
import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agent.errors import PublishError, SettingsError, VolumeBusy
from agent.locks import hold, is_held
from agent.publish.memory import Memory
from resentry.contract import (
    DATA_LINK,
    ENV_FILE,
    SETTINGS_FILE,
    ContractError,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    time_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PRIVATE_DIR = "agent"
LOCK_FILE = "agent/lock"
FILE_MODE = 0o640
DIR_MODE = 0o750
RECEIPTS_MODE = 0o3770
KEEP_SECONDS = 60
"""An old directory stays for this time, because a reader may still be reading it."""


class Volume:
    """The volume in `directory`. Call `open` before publishing."""

    def __init__(self, directory: str, receipts: str, group: str = "") -> None:
        self.directory = directory
        self._receipts = receipts
        self._gid = _gid(group)
        self._lock: int | None = None
        self._is_unfinished = False
        self.memory = Memory(self._path(PRIVATE_DIR))

    def open(self) -> None:
        """Take the volume: make its directories, lock it, remove what a crash left."""
        with _as_publish_error(self.directory):
            self._make_dir(self.directory, DIR_MODE, force=False)
            self._make_dir(self._path(PRIVATE_DIR), 0o700)
            self._make_dir(self._receipts, RECEIPTS_MODE)
            self._lock = os.open(self._path(LOCK_FILE), os.O_RDWR | os.O_CREAT, 0o600)
            if not hold(self._lock):
                os.close(self._lock)
                self._lock = None
                raise VolumeBusy(
                    f"another agent has the volume {self.directory}",
                    "give each pod a volume of its own, or stop the other agent",
                )
            self.memory.sweep()
            self._sweep()
            current = self.current()
            if current is not None:  # the crash may have come right after the switch
                self._finish(current)

    def close(self) -> None:
        """Unlock the volume, so that another agent can take it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_open(self) -> bool | None:
        """Whether another process has the volume open; `None` if that cannot be known."""
        try:
            lock = os.open(self._path(LOCK_FILE), os.O_RDONLY)
        except OSError:
            return None
        try:
            return is_held(lock)
        finally:
            os.close(lock)

    def current(self) -> Snapshot | None:
        """Return the published snapshot, or `None` if there is no readable one."""
        try:
            with open(self._path(DATA_LINK, SETTINGS_FILE), "rb") as file:
                return decode_snapshot(file.read())
        except (OSError, ContractError):
            return None

    def publish(self, snapshot: Snapshot) -> Snapshot:
        """Publish `snapshot`, and return it with its number and time.

        The order of the steps is the guarantee:

        1. make a directory that no reader looks at
        2. write every file into the directory, with mode and group, and flush to disk
        3. make a link to the directory, under a name that no reader knows
        4. rename the link over `..data`: here readers change from old to new
        5. make the visible names, which are links through `..data`, and remove others
        6. remove directories that no reader can still be reading
        """
        current = self.current()
        numbered = replace(
            snapshot,
            sequence=1 + (current.sequence if current else self.memory.last_sequence()),
            published_at=time_text(time.time()),
        )
        files = _files(numbered)
        with _as_publish_error(self.directory):
            self._missing(files)  # raises if a file of somebody else is in the way
            # 1
            name = f"..{time.strftime('%Y_%m_%d_%H_%M_%S')}.{secrets.token_hex(4)}"
            os.mkdir(self._path(name), 0o700)
            link = self._path(f"..data_tmp.{secrets.token_hex(4)}")
            try:
                # 2
                for file, body in files.items():
                    self._write(self._path(name, file), body)
                self._own(self._path(name), DIR_MODE)
                _flush(self._path(name))
                # 3
                os.symlink(name, link)
                # 4
                with contextlib.suppress(FileNotFoundError):
                    os.utime(
                        self._path(DATA_LINK)
                    )  # the time that the old directory stays begins
                os.rename(link, self._path(DATA_LINK))
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(link)
                shutil.rmtree(self._path(name), ignore_errors=True)
                raise
            self._is_unfinished = True
            _flush(self.directory)
            # 5 and 6
            self._finish(numbered)
        return numbered

    def finish(self, current: Snapshot) -> None:
        """Repeat the last steps of publishing, if an error prevented them."""
        if self._is_unfinished:
            with _as_publish_error(self.directory):
                self._finish(current)

    def _finish(self, current: Snapshot) -> None:
        self._show(_files(current))
        self._sweep()
        if self.memory.last_sequence() < current.sequence:
            self.memory.remember(current)
        self._is_unfinished = False

    def keep(self, name: str, body: bytes, *, flush: bool = True) -> None:
        """Replace one of the agent's own files, or raise `PublishError`."""
        with _as_publish_error(self.directory):
            self.memory.write(name, body, flush=flush)

    def _write(self, path: str, body: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            view = memoryview(body)
            while view:
                view = view[os.write(file, view) :]
            if self._gid is not None:
                os.fchown(file, -1, self._gid)
            os.fchmod(file, FILE_MODE)  # the umask must not decide
            os.fsync(file)
        finally:
            os.close(file)

    def _show(self, files: Mapping[str, bytes]) -> None:
        """Make a visible link through `..data` for every file, and remove our other links."""
        for file in self._missing(files):
            os.symlink(f"{DATA_LINK}/{file}", self._path(file))
        for entry in list(os.scandir(self.directory)):
            if entry.name in files or not entry.is_symlink():
                continue
            if os.readlink(entry.path).startswith(f"{DATA_LINK}/"):
                os.unlink(entry.path)

    def _missing(self, files: Mapping[str, bytes]) -> list[str]:
        """Return the files without a visible link. Raises if something else has the name."""
        missing = []
        for file in files:
            path = self._path(file)
            if not os.path.lexists(path):
                missing.append(file)
            elif not os.path.islink(path) or os.readlink(path) != f"{DATA_LINK}/{file}":
                raise PublishError(
                    f"cannot publish {path}: a file that is not the agent's has this name",
                    f"remove {path}",
                )
        return missing

    def _sweep(self) -> None:
        """Remove directories and links that are neither current nor replaced just now."""
        try:
            current = os.readlink(self._path(DATA_LINK))
        except FileNotFoundError:
            current = ""
        oldest = time.time() - KEEP_SECONDS
        for entry in list(os.scandir(self.directory)):
            if not entry.name.startswith("..") or entry.name in (DATA_LINK, current):
                continue
            if entry.is_symlink():
                os.unlink(entry.path)
            elif entry.stat(follow_symlinks=False).st_mtime < oldest:
                shutil.rmtree(entry.path, ignore_errors=True)

    def _make_dir(self, path: str, mode: int, *, force: bool = True) -> None:
        """Make a directory. With `force`, an existing directory also gets the mode."""
        try:
            os.makedirs(path, mode)
        except FileExistsError:
            if not force:
                return
        self._own(path, mode)

    def _own(self, path: str, mode: int) -> None:
        if self._gid is not None:
            os.chown(path, -1, self._gid)
        os.chmod(path, mode)

    def _path(self, *names: str) -> str:
        return "/".join((self.directory, *names))


def _files(snapshot: Snapshot) -> dict[str, bytes]:
    """Return the files of one snapshot, by name. Raises for a key that might be a path."""
    odd = [key for key in snapshot.settings if not key.isidentifier()]
    if odd:
        raise PublishError(f"the key {odd[0]!r} of the snapshot cannot be a file name")
    texts = {key: _as_text(value) for key, value in snapshot.settings.items()}
    dotenv = "".join(f"{key}={text}\n" for key, text in texts.items())
    return {
        SETTINGS_FILE: encode_snapshot(snapshot),
        ENV_FILE: dotenv.encode(),
        **{key: text.encode() for key, text in texts.items()},
    }


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flush(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_NO_GID = 2**32 - 1
"""To `chown` this means: change nothing."""


def _gid(group: str) -> int | None:
    if not group:
        return None
    try:
        is_number = group.isascii() and group.isdigit() and len(group) <= 10
        gid = int(group) if is_number else grp.getgrnam(group).gr_gid
    except KeyError:
        gid = _NO_GID
    if gid >= _NO_GID:
        raise SettingsError(
            f"RESENTRY_GROUP: this system has no group {group}",
            "set RESENTRY_GROUP to a number, or to a group in /etc/group",
        )
    return gid


@contextlib.contextmanager
def _as_publish_error(directory: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PublishError(
            f"cannot write {error.filename or directory}: {error.strerror}",
            f"this runs as user {os.geteuid()}: check owner, mount options and free "
            "space of the volume",
        ) from None
