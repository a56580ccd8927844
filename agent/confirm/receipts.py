"""The receipts of the live targets, read from their directory.

Anybody in the group may write there, so nothing in it is trusted: names, sizes, types
and owners are checked, links are not followed, and a lock says who lives. Who lives and
gives no receipt that can be read is a target all the same: it waits.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.locks import holder
from resentry.contract import (
    LOCK_SUFFIX,
    RECEIPT_LIMIT_BYTES,
    RECEIPT_SUFFIX,
    TARGET_ID,
    ContractError,
    decode_receipt,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry.contract import Snapshot

FILES_LIMIT = 10_000
"""So many files of the directory are looked at; with more, nothing is confirmed."""
_STALE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Seen:
    """The live targets; `unknown` says why there may be others."""

    targets: list[LiveTarget]
    unknown: str = ""


class Receipts:
    """The directory in which targets give their receipts.

    With `tidy`, reading also removes what dead targets left behind.
    """

    def __init__(self, directory: str, *, tidy: bool = False) -> None:
        self._directory = directory
        self._tidy = tidy

    def read(self) -> list[LiveTarget]:
        """Return the live targets that can be seen."""
        return self.look().targets

    def rollout(
        self, current: Snapshot | None, minimum: Mapping[str, int], *, late: bool
    ) -> Rollout:
        """Say how far `current` has got, from the receipts of now.

        `minimum` has by role how many workers must confirm; `late` says whether who
        still waits is overdue.
        """
        seen = self.look()
        unknown = seen.unknown
        return assess(
            seen.targets, current, late=late, minimum=minimum, unknown=unknown
        )

    def look(self) -> Seen:
        """Return the live targets, and whether those are all."""
        try:
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return Seen([])
        except OSError as error:
            return Seen([], self._unreadable(error))
        try:
            with os.scandir(handle) as entries:
                names = [e.name for e in itertools.islice(entries, FILES_LIMIT + 1)]
            found = self._read_from(handle, names[:FILES_LIMIT])
        except OSError as error:
            return Seen([], self._unreadable(error))
        finally:
            os.close(handle)
        parents = {target.receipt.parent for target in found}
        targets = [replace(one, main=one.receipt.id in parents) for one in found]
        if len(names) <= FILES_LIMIT:
            return Seen(targets)
        return Seen(
            targets,
            f"{self._directory} holds more than {FILES_LIMIT:,} files: "
            "not every receipt was read",
        )

    def _unreadable(self, error: OSError) -> str:
        return f"cannot read the receipts in {self._directory}: {error.strerror}"

    def _read_from(self, directory: int, names: list[str]) -> list[LiveTarget]:
        found = []
        for name in names:
            target = name.removesuffix(LOCK_SUFFIX)
            if not name.endswith(LOCK_SUFFIX) or not TARGET_ID.match(target):
                self._remove_stale(directory, name)
                continue
            pid = _holder(directory, name)
            if pid is None:
                self._remove(directory, target + RECEIPT_SUFFIX, name)
                continue
            try:
                found.append(_read_one(directory, target))
            except (OSError, ContractError) as error:
                # It may have ended meanwhile, and have taken its receipt with it.
                if _holder(directory, name) is not None:
                    found.append(LiveTarget.unreadable(target, pid, _told(error)))
        return found

    def _remove_stale(self, directory: int, name: str) -> None:
        """Remove a receipt or temporary file whose target never got to its lock."""
        target = name.partition(".")[0]
        if not TARGET_ID.match(target) or _exists(directory, target + LOCK_SUFFIX):
            return
        with contextlib.suppress(OSError):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if found.st_mtime < time.time() - _STALE_SECONDS:
                self._remove(directory, name)

    def _remove(self, directory: int, *names: str) -> None:
        for name in names if self._tidy else ():
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)


def _read_one(directory: int, target: str) -> LiveTarget:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(target + RECEIPT_SUFFIX, flags, dir_fd=directory)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise ContractError("the receipt is not a regular file")
        if found.st_size > RECEIPT_LIMIT_BYTES:
            raise ContractError(
                f"the receipt is larger than {RECEIPT_LIMIT_BYTES:,} bytes"
            )
        receipt = decode_receipt(os.read(file, RECEIPT_LIMIT_BYTES))
    finally:
        os.close(file)
    if receipt.id != target:
        raise ContractError("the receipt is of another id than its name")
    return LiveTarget(receipt, found.st_uid)


def _told(error: OSError | ContractError) -> str:
    if isinstance(error, ContractError):
        return str(error)
    if isinstance(error, FileNotFoundError):
        return "it holds its lock, and has given no receipt"
    if error.errno == errno.ELOOP:
        return "the receipt is a link"
    return f"the receipt cannot be read: {error.strerror}"


def _holder(directory: int, name: str) -> int | None:
    """Ask which process holds the record lock, without ever taking it.

    0 where that is not known; `None` where nobody does. A lock that cannot be asked
    about counts as held: its target is then silent, not dead, and nobody removes a
    live one's files.
    """
    # No O_CREAT: fs.protected_regular would refuse another user's file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        # A link is no lock.
        return None if error.errno in (errno.ENOENT, errno.ELOOP) else 0
    try:
        return holder(file)
    except OSError:
        return 0
    finally:
        os.close(file)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True
