"""Reads the bytes of what something else mounts: a file, or a directory of files.

A mounted Secret changes as a whole: its files are links through `..data`, and kubelet, or
the CSI driver, renames that link over to the next generation and removes the last one at
once. So one generation is opened, and read through; who goes by the visible names can see
a part of each.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from agent.domain.validate import PREFIXES
from agent.errors import CandidateRefused, SourceDenied, SourceDown, SourceMissing
from resentry.contract import DATA_LINK

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS_LIMIT = 1000
SIZE_LIMIT_BYTES = 1024 * 1024
TRIES = 10
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR)


class Found(NamedTuple):
    """The files by name, and whether they are of one generation.

    Otherwise somebody may be in the middle of writing them.
    """

    files: dict[str, bytes]
    is_whole: bool


def read_file(path: str) -> Found:
    """Return one file by the last part of its path, or raise a typed error."""
    name = os.path.basename(path)
    with _typed(path):
        for _ in range(TRIES):
            link = os.readlink(path) if os.path.islink(path) else ""
            is_whole = link.startswith(f"{DATA_LINK}/")
            try:
                return Found({name: _read(path)}, is_whole)
            except FileNotFoundError:
                if not is_whole:
                    raise
    raise _changing(path)


def read_directory(path: str) -> Found:
    """Return the files of a directory by name, or raise a typed error.

    A file that can be no key is there by its name alone: it is not opened.
    """
    with _typed(path), _opened(path) as visible:
        for _ in range(TRIES):
            with contextlib.suppress(FileNotFoundError):
                if not _has_generations(visible):
                    return Found(_read_all(visible, path), is_whole=False)
                with _opened(DATA_LINK, visible) as generation:
                    files = _read_all(generation, path)
                    now = os.stat(DATA_LINK, dir_fd=visible)
                    # While it is current nobody has begun to remove it.
                    if os.path.samestat(os.fstat(generation), now):
                        return Found(files, is_whole=True)
    raise _changing(path)


def _has_generations(directory: int) -> bool:
    try:
        os.lstat(DATA_LINK, dir_fd=directory)
    except FileNotFoundError:
        return False
    return True


def _read_all(directory: int, path: str) -> dict[str, bytes]:
    names = [name for name in os.listdir(directory) if not name.startswith("..")]
    if len(names) > KEYS_LIMIT:
        raise _too_large(f"{path} holds {len(names)} files; {KEYS_LIMIT} are the limit")
    files = {}
    left = SIZE_LIMIT_BYTES
    for name in sorted(names):
        body = _read(name, directory, left) if name.startswith(PREFIXES) else b""
        left -= len(body)
        files[_shown(name)] = body
    return files


def _shown(name: str) -> str:
    """The name as it may stand in a log: no escape sequences, nor half a character."""
    return "".join(c if c.isprintable() else "?" for c in name)


@contextlib.contextmanager
def opened_file(name: str, directory: int | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading; what is none is an `OSError`, and hangs nobody."""

    def opener(path: str, flags: int) -> int:
        # A FIFO must not hang the pass, nor a terminal become ours.
        return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, dir_fd=directory)

    with open(name, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.ENXIO, "not a file", name)
        yield file


def _read(
    name: str, directory: int | None = None, limit: int = SIZE_LIMIT_BYTES
) -> bytes:
    with opened_file(name, directory) as file:
        body = file.read(limit + 1)
    if len(body) > limit:
        raise _too_large(
            f"with {_shown(name)} it is more than 1 MiB; that is the limit"
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
        f"{path} was changing while it was read", "or a link in it leads nowhere"
    )


@contextlib.contextmanager
def _typed(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else path
        where = path if name == path else f"{path}/{name}"
        what = f"cannot read {_shown(where)}: {error.strerror}"
        if isinstance(error, PermissionError):
            raise SourceDenied(what, f"this runs as user {os.geteuid()}") from None
        if error.errno in _NO_FILE:
            raise SourceMissing(
                what, "RESENTRY_SOURCE_PATH names a file, or a directory of files"
            ) from None
        raise SourceDown(what) from None
