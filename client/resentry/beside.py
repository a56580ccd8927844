"""Replaces files as a whole: written beside their place, then renamed over it.

A reader sees the old file or the new one, and never a part.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPORARY_SUFFIX = ".tmp"
"""The end of each temporary name. What a crash left is found by it."""


@contextlib.contextmanager
def beside(path: str) -> Iterator[str]:
    """Yield the path of a temporary file, which replaces `path` at the end.

    After an `OSError` the temporary file is removed, and `path` is as it was.
    """
    temporary = f"{path}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def replace_file(path: str, body: bytes, mode: int, *, flush: bool = False) -> None:
    """Replace the file by these bytes. With `flush` they are on the disk before."""
    with beside(path) as temporary:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(file, "wb") as opened:
            opened.write(body)  # all of it, or OSError
            opened.flush()
            if flush:
                os.fsync(file)
        os.chmod(temporary, mode)  # the umask must not decide
