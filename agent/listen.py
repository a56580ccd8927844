"""Whether the agent can listen where it is set to: asked before the volume is made."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.settings.parse import Address

PATH_BYTES = 107
"""The longest path that the kernel takes for a Unix socket."""


def must_be_free(address: Address | None) -> None:
    """Raise `SettingsError` if nobody could listen at the address now."""
    if address is None:
        return
    try:
        candidates = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, place in candidates:
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(place)
                tried.listen()
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {address}: {error.strerror}",
            "set RESENTRY_HTTP_LISTEN and RESENTRY_PROBES_LISTEN to free addresses of this "
            "machine, or to off",
        ) from None


def must_be_usable(path: str) -> None:
    """Raise `SettingsError` if the control socket could not be put there."""
    problem = ""
    folder = os.path.dirname(path) or "."
    if len(os.fsencode(path)) > PATH_BYTES:
        problem = f"the path has more than {PATH_BYTES} bytes"
    elif os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode):
        problem = "something else is there"
    elif os.path.lexists(folder) and not os.path.isdir(folder):
        problem = f"{folder} is not a directory"
    elif os.path.isdir(folder):
        status = os.stat(folder)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            problem = f"others than user {os.geteuid()} have access to {folder}"
    if problem:
        raise SettingsError(
            f"cannot open the control socket {path}: {problem}",
            f"set RESENTRY_CONTROL to a path of at most {PATH_BYTES} bytes, in a directory "
            "that is the agent's alone (mode 0700)",
        )
