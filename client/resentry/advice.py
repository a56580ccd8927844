"""What an application can't do with the volume, why, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

_NEXT = {
    errno.EACCES: "give both containers one group (fsGroup in Kubernetes)",
    errno.EPERM: "give both containers one group (fsGroup in Kubernetes)",
    errno.ENOENT: "mount the volume here, or correct the variable",
    errno.ENOTDIR: "mount a directory here: not a file of it, and not with subPath",
    errno.EROFS: "mount the receipts' volume writable",
    errno.ENOSPC: "make room on the receipts' volume",
    errno.EDQUOT: "make room on the receipts' volume",
}


def explain(what: str, path: str, error: OSError) -> str:
    """Say in one line what failed, for whom, at which directory, and the next step."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    advice = _NEXT.get(error.errno or 0, "see docs/library.md")
    return f"{what} {path}: {reason}. {_us()}; {_them(path)}. Next: {advice}."


def nothing_published(directory: str) -> str:
    """Say that there is no snapshot, or not even the directory."""
    if not os.path.isdir(directory):
        return explain("can't read", directory, FileNotFoundError(errno.ENOENT, ""))
    return (
        f"no snapshot in {directory}. {_us()}; {_them(directory)}. Next: see that the "
        "agent runs, and that both mount the same volume, not with subPath."
    )


def _us() -> str:
    if not hasattr(os, "geteuid"):
        return "This process"
    groups = ", ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    return f"This process has user {os.geteuid()}, groups {groups}"


def _them(path: str) -> str:
    """The first directory on the way up that can be looked at."""
    while path != os.path.dirname(path):
        with contextlib.suppress(OSError):
            found = os.stat(path)
            mode = stat.filemode(found.st_mode)
            return f"{path} has user {found.st_uid}, group {found.st_gid}, mode {mode}"
        path = os.path.dirname(path)
    return "nothing on its path can be looked at"


def never_changes(path: str) -> str:
    """Say that a file is a mount of its own."""
    return (
        f"{path} is mounted by itself, as with subPath: it never changes here. {_us()}; "
        f"{_them(path)}. Next: mount its whole directory, without subPath."
    )


def is_mounted_alone(path: str) -> bool:
    """Whether a file is a mount of its own, as `subPath` makes it: it never changes."""
    try:
        with open("/proc/self/mountinfo", "rb") as file:
            return any(line.split(b" ")[4] == os.fsencode(path) for line in file)
    except (OSError, IndexError):
        return False
