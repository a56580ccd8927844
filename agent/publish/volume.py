"""The shared volume. Every reader sees one whole snapshot, the old or the new one.

Layout and order of steps are those of kubelet's atomic writer
(kubernetes/pkg/volume/util/atomic_writer.go). Unique names, flushes and repairs are added.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import TYPE_CHECKING

from agent.domain.value import replace
from agent.errors import PublishError, VolumeBusy
from agent.publish.files import (
    DIR_MODE,
    PRIVATE_MODE,
    as_publish_error,
    files_of,
    flush,
    gid_of,
    make_dir,
    make_receipts,
    own,
    own_files,
    read_file,
    write_file,
)
from agent.publish.lock import Lock
from agent.publish.memory import Memory
from agent.publish.names import (
    PRIVATE_DIR,
    links_elsewhere,
    missing_links,
    must_be_apart,
    new_generation,
    new_link,
    remove_hidden,
    remove_tree,
    show_links,
)
from resentry.contract import (
    DATA_LINK,
    SETTINGS_FILE,
    ContractError,
    Snapshot,
    decode_snapshot,
    revision_of,
    time_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCK_FILE = "agent/lock"
KEEP_SECONDS = 60
"""An old directory stays for this time, because a reader may still be reading it."""
FULL = (errno.ENOSPC, errno.EDQUOT)


class Volume:
    """The volume in `directory`. Call `open` before publishing."""

    def __init__(self, directory: str, receipts: str, group: str = "") -> None:
        self.directory = directory
        self._receipts = receipts
        self._gid = gid_of(group)
        self._private = self._path(PRIVATE_DIR)
        self._lock = Lock(self._path(LOCK_FILE))
        self._is_taken = False
        self._files: dict[str, bytes] = {}
        """The published files, as this agent wrote or found them."""
        self._sequence = 0
        self.published: Snapshot | None = None
        """What this agent has published last, even if an error came after the switch."""
        self.memory = Memory(self._private)
        self.repairs: list[str] = []
        """What was made or published again; whoever says so clears the list."""
        self.problem = ""
        """What could not be kept for a rollback, and why; else empty."""

    def open(self) -> None:
        """Take the volume: make its directories, lock it, remove what a crash left.

        To open it again makes what has vanished since. Raises `VolumeBusy` while another
        agent has the volume.
        """
        with as_publish_error(self.directory):
            self._must_be_ours()
            must_be_apart(self.directory, self._receipts)
            self._make(self.directory, DIR_MODE)
            self._make(self._private, PRIVATE_MODE)
            if os.path.islink(self._private) or not os.path.isdir(self._private):
                raise PublishError(
                    f"{self._private} is not a directory",
                    f"remove {self._private}: the agent then makes a directory there",
                )
            self._mended([own(self._private, PRIVATE_MODE, None)])
            try:
                is_new = self._lock.take()
            except VolumeBusy:
                self._files, self._sequence = {}, 0  # what is there is not ours
                raise
            self._mended([make_receipts(self._receipts, self._gid)])
            if not is_new:
                return
            self.memory.sweep()
            self._sweep()
            if self.current() is not None:
                data = self._path(DATA_LINK)
                own_files(data, (), self._gid)  # else nobody may list it
                own_files(data, os.listdir(data), self._gid)
        self._is_taken = True
        current = self.intact()
        if current is not None:  # the crash may have come right after the switch
            self.repair(current)

    def close(self) -> None:
        """Unlock the volume, so that another agent can take it."""
        self._lock.release()

    def is_ours(self) -> bool:
        """Whether this process has the volume now."""
        return self._lock.is_held()

    def is_open(self) -> bool | None:
        """Whether another process has the volume open; `None` if that cannot be known."""
        return self._lock.is_held_elsewhere()

    def is_used(self) -> bool:
        """Whether the volume holds a snapshot that processes may run, readable or not."""
        return os.path.lexists(self._path(DATA_LINK)) and not self._is_of_others()

    def current(self) -> Snapshot | None:
        """Return the published snapshot, or `None` if there is no readable one."""
        body = read_file(self._path(DATA_LINK, SETTINGS_FILE))
        try:
            return decode_snapshot(body or b"")
        except ContractError:
            return None

    def _is_of_others(self) -> bool:
        """Whether another program has made `..data`, and no agent has published here."""
        is_known = bool(self._files) or self.memory.last_sequence() > 0
        return not is_known and links_elsewhere(self.directory)

    def _must_be_ours(self) -> None:
        if self._is_of_others():
            raise PublishError(
                f"another program publishes in {self.directory}: {DATA_LINK} there is a "
                "link that no agent has made",
                "set RESENTRY_DIR to a directory of the agent's own",
            )

    def intact(self) -> Snapshot | None:
        """Return the published snapshot, unless somebody else has changed its content."""
        current = self.current()
        is_intact = current is not None and revision_of(current) == current.revision
        return current if is_intact else None

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
        newest = max(self._sequence, self.memory.last_sequence())
        numbered = replace(
            snapshot,
            # The volume may have been emptied: the caller's number counts, too.
            sequence=1
            + max(newest, snapshot.sequence, current.sequence if current else 0),
            published_at=time_text(time.time()),
        )
        files = files_of(numbered)
        with as_publish_error(self.directory):
            missing_links(
                self.directory, files
            )  # raises if a file of somebody else is in the way
            try:
                self._switch(files)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                self._sweep()
                self.memory.give_up_history()
                self._switch(files)
            self._files, self._sequence = files, numbered.sequence
            self.published = numbered
            flush(self.directory)
            self._finish(numbered)
        return numbered

    def _switch(self, files: Mapping[str, bytes]) -> None:
        name, link = new_generation(), self._path(new_link())
        data = self._path(DATA_LINK)
        # 1
        os.mkdir(self._path(name), 0o700)
        try:
            # 2
            for file, body in files.items():
                write_file(self._path(name, file), body, self._gid)
            own(self._path(name), DIR_MODE, self._gid)
            flush(self._path(name))
            # 3
            os.symlink(name, link)
            # 4
            with contextlib.suppress(FileNotFoundError):
                os.utime(data)  # the time that the old directory stays begins
            os.rename(link, data)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(link)
            remove_tree(self._path(name))
            raise

    def repair(self, current: Snapshot) -> Snapshot:
        """Compare the volume with what is published there, and mend what differs.

        Returns the published snapshot. If its content was lost or changed, the snapshot is
        published again, with the next number: a process that ran something else is then
        seen.
        """
        with as_publish_error(self.directory):
            if not self._files:  # an earlier agent, maybe of another version, wrote
                body = read_file(self._path(DATA_LINK, SETTINGS_FILE)) or b""
                self._files = files_of(current) | {SETTINGS_FILE: body}
            damage = self._damage()
        if damage:
            current = self.publish(current)
            name = f"revision {current.revision} again, as sequence {current.sequence}"
            self._mended([f"published {name}: {damage}"])
        else:
            with as_publish_error(self.directory):
                self._mended(self._finish(current))
        return current

    def _damage(self) -> str:
        """Return what is wrong with the published files; empty if nothing is."""
        data = self._path(DATA_LINK)
        if not os.path.islink(data) or links_elsewhere(self.directory):
            return f"{data} was removed or replaced"
        for name, body in self._files.items():
            path = self._path(DATA_LINK, name)
            if not os.path.lexists(path):
                return f"{path} was removed"
            if read_file(path) != body:
                return f"{path} was changed"
        return ""

    def _finish(self, current: Snapshot) -> list[str]:
        """Do the last steps of publishing, also those that an error prevented.

        Returns what was missing, in words.
        """
        shown = show_links(self.directory, self._files)
        owned = own_files(self._path(DATA_LINK), self._files, self._gid)
        self._sweep()
        self.problem = self.memory.remember(current)
        return [*(f"made the link {self._path(name)} again" for name in shown), *owned]

    def must_be_clear(self, snapshot: Snapshot) -> None:
        """Raise `PublishError` if somebody else's file has the name of one of its files."""
        self._must_be_ours()
        missing_links(self.directory, files_of(snapshot))

    def keep(self, name: str, body: bytes, *, flush: bool = True) -> None:
        """Replace one of the agent's own files, or raise `PublishError`."""
        self._lock.must_be_held()
        with as_publish_error(self.directory):
            self.memory.write(name, body, flush=flush)

    def _make(self, path: str, mode: int) -> None:
        if make_dir(path, mode, self._gid):
            self._mended([f"made {path} again"])

    def _mended(self, texts: list[str]) -> None:
        if self._is_taken:
            self.repairs += filter(None, texts)

    def _sweep(self) -> None:
        """Remove directories and links that are neither current nor replaced just now."""
        try:
            current = os.readlink(self._path(DATA_LINK))
        except OSError:
            current = ""
        remove_hidden(self.directory, (DATA_LINK, current), time.time() - KEEP_SECONDS)

    def _path(self, *names: str) -> str:
        return "/".join((self.directory, *names))
