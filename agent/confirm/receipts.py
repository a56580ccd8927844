"""Reads the receipts of the live targets from their directory.

Every member of the group may write there, so nothing in the directory is trusted: names,
sizes, types and owners are checked, and links are not followed. A held lock proves that a
target lives. A live target without a readable receipt counts too: its state is "waiting".
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import stat
import time
from typing import TYPE_CHECKING

from agent.confirm.ends import Ends
from agent.confirm.mask import without_secrets
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.domain.tuned import known_only
from agent.domain.value import Value, replace
from agent.locks import holder_of
from resentry import formats
from resentry.contract import (
    LOCK_SUFFIX,
    RECEIPT_LIMIT_BYTES,
    RECEIPT_SUFFIX,
    TARGET_ID,
    ContractError,
    decode_receipt,
)
from resentry.tally import TALLIES
from resentry.values import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.contract import Receipt, Snapshot

FILES_LIMIT = 4096
"""The limit of files in the directory. With more files, nothing is confirmed."""
TARGETS_LIMIT = 512
"""The limit of live targets. With more targets, nothing is confirmed."""
TOTAL_BYTES = 1024 * 1024
"""The limit of all receipts together. With more bytes, nothing is confirmed."""
_STALE_SECONDS = 60
_NAME = re.compile(r"[0-9a-f]{12}\Z")
"""The form of a revision, and of a fingerprint."""
_ROOM_BYTES = 8192


class Seen(Value, frozen=True):
    """The live targets. `unknown` says why there may be others; else it is empty."""

    targets: list[LiveTarget]
    unknown: str = ""


class Receipts:
    """The directory to which targets write their receipts.

    With `tidy`, reading also removes the files of dead targets. In a copy of a directory
    nobody holds a lock, so with `is_copy` each lock file stands for a live target.
    """

    def __init__(
        self, directory: str, *, tidy: bool = False, is_copy: bool = False
    ) -> None:
        self._directory = directory
        self._tidy = tidy
        self._ends = Ends()
        self._known: dict[str, tuple[bytes, Receipt]] = {}
        """The receipts that the last look found, by target, with the digests of files."""
        self._is_copy = is_copy
        self._holder = (lambda *_: 0) if is_copy else holder_of

    def read(self) -> list[LiveTarget]:
        """Return the live targets that were found."""
        return self.look().targets

    def rollout(
        self, current: Snapshot | None, minimum: Mapping[str, int], *, late: bool
    ) -> Rollout:
        """Return how far `current` has got, by the receipts read now.

        `minimum` says by role how many workers must confirm. With `late`, targets that
        still wait are overdue.
        """
        seen = self.look()
        unknown = seen.unknown
        rollout = assess(
            seen.targets, current, late=late, minimum=minimum, unknown=unknown
        )
        is_silent = late and current is not None and not seen.targets and not unknown
        obstacle, advice = self._obstacle(is_silent=is_silent)
        ends = self._ends.by_role(time.monotonic())
        return replace(rollout, obstacle=obstacle, advice=advice, ends=ends)

    def _obstacle(self, *, is_silent: bool) -> tuple[str, str]:
        """Return what keeps processes from confirming, and what to do; empty if nothing."""
        if self._is_copy:  # the room here is not the room there
            return "", ""
        try:
            status, room = os.stat(self._directory), os.statvfs(self._directory)
        except OSError:  # the next pass makes the directory
            return "", ""
        has_no_inode = room.f_files and not room.f_favail
        # Some file systems do not count, and say 0 of 0.
        is_full = room.f_blocks and room.f_bavail * room.f_frsize < _ROOM_BYTES
        if is_full or has_no_inode:
            text = f"the file system of {self._directory} is full"
            advice = "enlarge it; each process needs 8 KiB and two files there"
            return f"{text}: processes cannot write receipts", advice
        if not is_silent:
            return "", ""
        advice = (
            "an application needs the volume (RESENTRY_DIR) and the receipts' directory "
            f"{self._directory} (RESENTRY_RECEIPTS) as mounts, both variables with these "
            f"paths, and user {status.st_uid} or group {status.st_gid}; it must call "
            "resentry.init"
        )
        return "the time limit RESENTRY_CONFIRM_SECONDS is over", advice

    def look(self) -> Seen:
        """Return the live targets, and why there may be others."""
        try:
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return Seen([])
        except OSError as error:
            return Seen([], self._unreadable(error))
        try:
            with os.scandir(handle) as entries:
                names = [e.name for e in itertools.islice(entries, FILES_LIMIT + 1)]
            targets, unknown = self._read_from(handle, names[:FILES_LIMIT])
        except OSError as error:
            return Seen([], self._unreadable(error))
        finally:
            os.close(handle)
        parents = {target.receipt.parent for target in targets}
        targets = [
            replace(target, main=target.receipt.id in parents) for target in targets
        ]
        if len(names) > FILES_LIMIT:
            unknown = f"holds more than {FILES_LIMIT:,} files"
        present = {target.receipt.id for target in targets}
        self._ends.follow(present, time.monotonic(), is_whole=not unknown)
        if unknown:
            unknown = f"{self._directory} {unknown}: not all receipts were read"
        return Seen(targets, unknown)

    def _unreadable(self, error: OSError) -> str:
        return f"cannot read the receipts in {self._directory}: {error.strerror}"

    def _read_from(
        self, directory: int, names: list[str]
    ) -> tuple[list[LiveTarget], str]:
        """Return the targets, and which limit has left others unread."""
        targets: list[LiveTarget] = []
        before = dict(self._known)
        self._known.clear()
        size = 0
        for name in names:
            target = name.removesuffix(LOCK_SUFFIX)
            if not name.endswith(LOCK_SUFFIX) or not TARGET_ID.match(target):
                self._remove_stale(directory, name)
                continue
            pid = self._holder(directory, name)
            if pid is None:
                with contextlib.suppress(OSError, ContractError):
                    receipt = _decode(_read_body(directory, target)[0], target)
                    self._add(directory, receipt)
                self._remove(directory, target + RECEIPT_SUFFIX, name)
                continue
            if len(targets) == TARGETS_LIMIT:
                return targets, f"holds more than {TARGETS_LIMIT:,} live processes"
            try:
                body, uid = _read_body(directory, target)
                size += len(body)
                if size > TOTAL_BYTES:
                    return targets, f"holds more than {TOTAL_BYTES:,} bytes of receipts"
                digest = hashlib.sha256(body).digest()
                known = before.get(target)
                is_same = known is not None and known[0] == digest
                receipt = known[1] if known and is_same else _decode(body, target)
                self._known[target] = digest, receipt
                targets.append(LiveTarget(receipt, uid))
                self._add(directory, receipt)
            except (OSError, ContractError) as error:
                # The target may have ended meanwhile, and removed its receipt.
                if self._holder(directory, name) is not None:
                    targets.append(LiveTarget.unreadable(target, pid, _reason(error)))
        return targets, ""

    def _remove_stale(self, directory: int, name: str) -> None:
        """Remove an old receipt or temporary file whose target has no lock."""
        target = name.partition(".")[0]
        if not TARGET_ID.match(target) or _exists(directory, target + LOCK_SUFFIX):
            return
        with contextlib.suppress(OSError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if status.st_mtime < time.time() - _STALE_SECONDS:
                self._remove(directory, name)

    def _add(self, directory: int, receipt: Receipt) -> None:
        """Follow a target until its end. Forked children do not count."""
        if not self._tidy or receipt.parent or self._ends.knows(receipt.id):
            return
        with contextlib.suppress(OSError):
            lock = receipt.id + LOCK_SUFFIX
            began = os.stat(lock, dir_fd=directory, follow_symlinks=False).st_mtime
            age = time.time() - began
            self._ends.add(receipt.id, receipt.role, time.monotonic() - age)

    def _remove(self, directory: int, *names: str) -> None:
        for name in names if self._tidy else ():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)


def _read_body(directory: int, target: str) -> tuple[bytes, int]:
    """Return the receipt's bytes, and the user who owns it."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(target + RECEIPT_SUFFIX, flags, dir_fd=directory)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise ContractError("the receipt is not a regular file")
        if status.st_size > RECEIPT_LIMIT_BYTES:
            raise ContractError(
                f"the receipt is larger than {RECEIPT_LIMIT_BYTES:,} bytes"
            )
        return os.read(file, RECEIPT_LIMIT_BYTES), status.st_uid
    finally:
        os.close(file)


def _decode(body: bytes, target: str) -> Receipt:
    """Return the receipt, without what the agent does not need."""
    receipt = decode_receipt(body)
    if receipt.id != target:
        raise ContractError("the receipt's id differs from its file name")
    named = (receipt.revision, receipt.refused and receipt.refused[0])
    if not all(_NAME.match(revision) for revision in named if revision is not None):
        raise ContractError("the receipt's revision is not valid")
    dsns = {receipt.dsn, *(holder.dsn for holder in receipt.holders)}
    dsns |= {answer.dsn for answer in receipt.answers}
    if not all(map(_NAME.match, dsns - {""})):
        raise ContractError(
            "the receipt names a DSN by something else than a fingerprint"
        )
    known = {name: receipt.tally[name] for name in TALLIES if name in receipt.tally}
    origins = {name: receipt.origins[name] for name in KEYS if name in receipt.origins}
    since = _moment(receipt.since)
    needed = known_only(receipt)._replace(tally=known, origins=origins, since=since)
    return without_secrets(needed)


def _moment(text: str) -> str:
    """Return a time as it stands; nothing in the place of other text."""
    try:
        formats.moment(text)
    except ValueError:
        return ""
    return text


def _reason(error: OSError | ContractError) -> str:
    if isinstance(error, ContractError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return (
            "the process has not written a receipt; its lock file shows that it lives"
        )
    if error.errno == errno.ELOOP:
        return "the receipt is a symbolic link"
    return f"the receipt cannot be read: {error.strerror}"


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True
