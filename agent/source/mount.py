"""Reads the bytes of a mounted file, or of a mounted directory of files.

A mounted Secret changes as a whole. Its files are links through `..data`. Kubelet, or the
CSI driver, renames that link over to the next generation of files, and then removes the
last generation. So this module opens one generation and reads only from it. A reader that
goes by the visible names may see files of both.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO

from agent.domain.validate import KNOWN, PREFIXES
from agent.domain.value import Value, replace
from agent.errors import CandidateRefused, SourceDenied, SourceDown, SourceMissing
from resentry.contract import DATA_LINK

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE_PATH = "RESENTRY_SOURCE_PATH"
KEYS_LIMIT = 1000
SIZE_LIMIT_BYTES = 1024 * 1024
TRIES = 10
TRIES_AGAIN = "nothing is to be done: the agent tries again soon"
_KEY = re.compile(r"[A-Za-z0-9_ -]+")
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR)


class Files(Value, frozen=True):
    """The files by name. With `is_whole` they surely belong together.

    Otherwise, somebody may be writing them right now. `has_leftovers` tells of files whose
    names begin like a key and can be no key, as `SENTRY_DSN.bak`.
    """

    files: dict[str, bytes]
    is_whole: bool
    has_leftovers: bool = False


def read_file(path: str, setting: str = SOURCE_PATH) -> Files:
    """Return one file, by the last part of its path, or raise an error of the agent.

    The error names the `setting` that the path comes from.
    """
    name = os.path.basename(path)
    with _typed(path, setting):
        for _ in range(TRIES):
            link = os.readlink(path) if os.path.islink(path) else ""
            is_whole = link.startswith(f"{DATA_LINK}/")
            try:
                return Files({name: _read(path)}, is_whole)
            except FileNotFoundError:
                if not is_whole:
                    raise
    raise _changing(path)


def read_directory(path: str, setting: str = SOURCE_PATH) -> Files:
    """Return the files of a directory by name, or raise an error of the agent.

    A file whose name cannot be a key is not opened. It is returned as empty, or left out
    if it is what a writer leaves beside a key.
    """
    with _typed(path, setting), _opened(path) as visible:
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):
                if not _has_generations(visible):
                    return _read_all(visible, path)
                with _opened(DATA_LINK, visible) as generation:
                    files = _read_all(generation, path)
                    now = os.stat(DATA_LINK, dir_fd=visible)
                    # A generation that is still current was not removed meanwhile.
                    if os.path.samestat(os.fstat(generation), now):
                        return replace(files, is_whole=True)
    raise _changing(path)


def _has_generations(directory: int) -> bool:
    try:
        os.lstat(DATA_LINK, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def _read_all(directory: int, path: str) -> Files:
    names = sorted(name for name in os.listdir(directory) if name[:2] != "..")
    alike = [name for name in names if name.startswith(PREFIXES)]
    keys = [name for name in alike if _may_be_key(name, directory)]
    if len(keys) > KEYS_LIMIT:
        raise _too_large(f"{path} holds {len(keys)} files; the limit is {KEYS_LIMIT}")
    others = [name for name in names if not name.startswith(PREFIXES)]
    files = {_shown(name): b"" for name in others[:KEYS_LIMIT]}
    remaining = SIZE_LIMIT_BYTES
    for name in keys:
        body = _read(name, directory, remaining)
        remaining -= len(body)
        files[_shown(name)] = body
    return Files(files, is_whole=False, has_leftovers=len(keys) < len(alike))


def _may_be_key(name: str, directory: int) -> bool:
    """Whether a file can be a key, also a mistyped one, and is no leftover of a writer."""
    if name in KNOWN:
        return True
    if not _KEY.fullmatch(name):
        return False
    with contextlib.suppress(OSError):
        return not stat.S_ISDIR(os.stat(name, dir_fd=directory).st_mode)
    return True


def _shown(name: str) -> str:
    """Return the name in a form for the log: without escape sequences."""
    return "".join(c if c.isprintable() else "?" for c in name)


@contextlib.contextmanager
def opened_file(name: str, directory: int | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading. Anything else is an `OSError`, and never hangs."""

    def opener(path: str, flags: int) -> int:
        # A FIFO must not block. A terminal must not become the controlling one.
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)

    with open(name, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "not a regular file", name)
        yield file


def _read(
    name: str, directory: int | None = None, limit: int = SIZE_LIMIT_BYTES
) -> bytes:
    with opened_file(name, directory) as file:
        body = file.read(limit + 1)
    if len(body) > limit:
        raise _too_large(
            f"the source is larger than 1 MiB, which is the limit (read up to "
            f"{_shown(name)})"
        )
    return body


@contextlib.contextmanager
def _opened(path: str, directory: int | None = None) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
    try:
        yield handle
    finally:
        os.close(handle)


def _too_large(problem: str) -> CandidateRefused:
    return CandidateRefused([problem], "too large")


def _changing(path: str) -> SourceDown:
    return SourceDown(
        f"{path} was changing while it was read",
        f"{TRIES_AGAIN}; if this goes on, check for links that lead nowhere",
    )


@contextlib.contextmanager
def _typed(path: str, setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        where = path if name == path else f"{path}/{name}"
        what = f"cannot read {_shown(where)}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise SourceDenied(
                what, f"let the agent's user {os.geteuid()} read the files"
            ) from None
        if error.errno == errno.ENOENT:
            raise SourceMissing(
                what,
                f"check what mounts or writes the files, and that {setting} names their "
                "place",
            ) from None
        if error.errno in _NO_FILE:
            raise SourceMissing(
                what, f"set {setting} to a file or a directory of files"
            ) from None
        raise SourceDown(what) from None
