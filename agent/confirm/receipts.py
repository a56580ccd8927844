"""The receipts of the live targets, read from their directory.

Anybody in the group may write there, so nothing in it is trusted: names, sizes, types
and owners are checked, links are not followed, and a lock says who lives.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time

from agent.domain.rollout import Target
from agent.locks import is_held
from resentry.contract import (
    LOCK_SUFFIX,
    RECEIPT_LIMIT_BYTES,
    RECEIPT_SUFFIX,
    TARGET_ID,
    ContractError,
    Receipt,
    decode_receipt,
)

_STALE_SECONDS = 60


class Receipts:
    """The directory in which targets give their receipts.

    With `tidy`, reading also removes what dead targets left behind.
    """

    def __init__(self, directory: str, *, tidy: bool = False) -> None:
        self._directory = directory
        self._tidy = tidy

    def read(self) -> list[Target]:
        """Return the live targets."""
        try:
            handle = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        try:
            found = self._read_from(handle)
        finally:
            os.close(handle)
        parents = {receipt.parent for receipt, _ in found}
        return [
            Target(receipt, uid, main=receipt.id in parents) for receipt, uid in found
        ]

    def _read_from(self, directory: int) -> list[tuple[Receipt, int]]:
        found = []
        for name in os.listdir(directory):
            target = name.removesuffix(LOCK_SUFFIX)
            if not name.endswith(LOCK_SUFFIX) or not TARGET_ID.match(target):
                self._remove_stale(directory, name)
            elif not _is_held(directory, name):
                self._remove(directory, target + RECEIPT_SUFFIX, name)
            else:
                with contextlib.suppress(OSError, ContractError):
                    receipt, uid = _read_one(directory, target + RECEIPT_SUFFIX)
                    if receipt.id == target:
                        found.append((receipt, uid))
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


def _read_one(directory: int, name: str) -> tuple[Receipt, int]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=directory)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > RECEIPT_LIMIT_BYTES:
            raise ContractError("not a receipt")
        return decode_receipt(os.read(file, RECEIPT_LIMIT_BYTES)), found.st_uid
    finally:
        os.close(file)


def _is_held(directory: int, name: str) -> bool:
    """Ask whether some process holds the record lock, without ever taking it.

    A lock that cannot be asked about counts as held: its target is then silent,
    not dead, and nobody removes a live one's files.
    """
    # No O_CREAT: fs.protected_regular would refuse another user's file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ELOOP)  # a link is no lock
    try:
        return is_held(file)
    except OSError:
        return True
    finally:
        os.close(file)


def _exists(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True
