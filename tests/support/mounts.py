"""Mounts that the scripts of these tests alone see: read-only, full, of one file."""

import ctypes
import os

_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_PRIVATE_ALL = 1, 32, 4096, 0x44000
_CLONE_NEWNS = 0x20000


def own_mounts() -> None:
    """Let this process mount what nobody else sees. Raises OSError without the right."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _mount(None, "/", None, _MS_PRIVATE_ALL)


def mount_memory(path: str, size: str = "1m", *, read_only: bool = False) -> None:
    """Mount a file system of its own there."""
    _mount("tmpfs", path, "tmpfs", _MS_RDONLY if read_only else 0, f"size={size}")


def make_writable(path: str) -> None:
    """Mount it anew, to be written to."""
    _mount(None, path, None, _MS_REMOUNT)


def bind_file(source: str, path: str) -> None:
    """Show one file in another place, as `subPath` does."""
    open(path, "wb").close()
    _mount(source, path, None, _MS_BIND)


def unmount(path: str) -> None:
    """Take a mount away, also one that is in use."""
    ctypes.CDLL(None).umount2(path.encode(), 2)  # MNT_DETACH


def _mount(
    source: str | None, path: str, kind: str | None, flags: int, data: str = ""
) -> None:
    texts = [None if text is None else text.encode() for text in (source, path, kind)]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
