"""Messages about the volume: what failed, why, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

SUBPATH = "(subPath)"
"""Stands in the message of `never_changes`, and so in a receipt's error."""
_NEXT = {
    errno.EACCES: "give both containers one group (fsGroup in Kubernetes)",
    errno.EPERM: "give both containers one group (fsGroup in Kubernetes)",
    errno.ENOENT: "mount the volume here, or correct the variable",
    errno.ENOTDIR: "mount the whole directory here, without subPath",
    errno.EROFS: "mount the receipts' volume writable",
    errno.ENOSPC: "make room on the receipts' volume",
    errno.EDQUOT: "make room on the receipts' volume",
}


def explain(what: str, path: str, error: OSError) -> str:
    """Return one line: what failed, for which user, at which directory, and what to do."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    advice = _NEXT.get(error.errno or 0, "see docs/library.md")
    return f"{what} {path}: {reason}. {_us()}; {_them(path)}. Next: {advice}."


def nothing_published(directory: str) -> str:
    """Return the line for a volume without a snapshot, or without the directory."""
    if not os.path.isdir(directory):
        return explain("can't read", directory, FileNotFoundError(errno.ENOENT, ""))
    return (
        f"no snapshot in {directory}. {_us()}; {_them(directory)}. Next: check that the "
        "agent runs, and that both containers mount the same volume, without subPath."
    )


def _us() -> str:
    if not hasattr(os, "geteuid"):
        return "This process"
    groups = ", ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    return f"This process has user {os.geteuid()}, groups {groups}"


def _them(path: str) -> str:
    """Describe the path, or its nearest parent that can be looked at."""
    while path != os.path.dirname(path):
        with contextlib.suppress(OSError):
            file = os.stat(path)
            mode = stat.filemode(file.st_mode)
            return f"{path} has user {file.st_uid}, group {file.st_gid}, mode {mode}"
        path = os.path.dirname(path)
    return "no directory on this path can be looked at"


def never_changes(path: str) -> str:
    """Return the line for a file that is a mount of its own."""
    return (
        f"{path} is mounted by itself {SUBPATH}, so it never changes in this container. "
        f"{_us()}; {_them(path)}. Next: mount the whole directory, without subPath."
    )


def is_mounted_alone(path: str) -> bool:
    """Whether a file is a mount of its own, as with `subPath`: it then never changes."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return any(line.split(b" ")[4] == os.fsencode(path) for line in file)
    except (OSError, IndexError):
        return False
