"""The control socket: a Unix socket by which commands send requests to the daemon.

A request is one line with a JSON object, and so is the answer. Only the agent's user and
root may connect: the socket's mode says so, and the kernel tells the peer's user.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import stat
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from agent.backoff import NEVER
from agent.call import EXPIRES_AT, REQUEST_BYTES, read_line
from agent.errors import (
    REPORT,
    UNEXPECTED,
    AgentAway,
    AgentError,
    RequestUnknown,
    SettingsError,
    WishRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[dict[str, Any]], dict[str, Any]]

REQUEST_SECONDS = 5.0
REQUESTS_AT_ONCE = 32
WAITING_AT_ONCE = 16
"""So many requests may wait for a pass, as `refresh` does. The others are answered at once."""
BUSY = {
    "error": f"the agent answers {REQUESTS_AT_ONCE} commands already",
    "hint": "try again in a few seconds",
    "exit_code": AgentAway.exit_code,
}
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid

log = structlog.get_logger()


def serve(path: str, handle: Handler) -> socket.socket:
    """Answer requests at `path`, each in a daemon thread: none waits for another.

    Returns the listening socket. To shut it down ends the service.
    """
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        status = os.stat(folder)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise SettingsError(
                f"cannot put the control socket into {folder}: others than user "
                f"{os.geteuid()} have access to this directory",
                "set RESENTRY_CONTROL to a path in a directory that is the agent's "
                "alone (mode 0700)",
            )
        _remove_old(path)
        server = _bind(path)
    except OSError as error:
        raise SettingsError(
            f"cannot open the control socket {path}: {error.strerror or error}",
            "set RESENTRY_CONTROL to a writable path of at most 107 bytes",
        ) from None
    threading.Thread(
        target=_answer_all, args=(server, handle), name="control", daemon=True
    ).start()
    return server


def _remove_old(path: str) -> None:
    """Remove the socket that a killed agent left: this agent has the volume."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise SettingsError(
                f"cannot open the control socket {path}: something else is there",
                "set RESENTRY_CONTROL to a path that is free",
            )
        os.unlink(path)


def _bind(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(path)
        os.chmod(path, 0o600)
        server.listen(128)
    except OSError:
        server.close()
        raise
    return server


def _answer_all(server: socket.socket, handle: Handler) -> None:
    free = threading.BoundedSemaphore(REQUESTS_AT_ONCE)
    handle = _few_waiting(handle)
    while True:
        try:
            connection, _ = server.accept()
        except OSError as error:  # no descriptor is left: one may come free
            if error.errno in (errno.EINVAL, errno.EBADF):
                return  # the socket was shut down
            log.warning(
                "cannot accept a connection at the control socket; trying again",
                reason=str(error),
            )
            time.sleep(1)
            continue
        try:
            _answer_apart(connection, handle, free)
        except RuntimeError:  # the system has no thread left
            free.release()
            _send(connection, BUSY)


def _few_waiting(handle: Handler) -> Handler:
    """Refuse a `refresh` while many wait, so that they keep no other request out."""
    free = threading.BoundedSemaphore(WAITING_AT_ONCE)

    def handle_few(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("command") != "refresh":
            return handle(request)
        if not free.acquire(blocking=False):
            return BUSY
        try:
            return handle(request)
        finally:
            free.release()

    return handle_few


def _answer_apart(
    connection: socket.socket, handle: Handler, free: threading.Semaphore
) -> None:
    if not free.acquire(blocking=False):
        _send(connection, BUSY)
        return

    def answer() -> None:
        try:
            _send(connection, _answer(connection, handle))
        finally:
            free.release()

    threading.Thread(target=answer, name="control", daemon=True).start()


def _send(connection: socket.socket, answer: dict[str, Any]) -> None:
    with connection:
        connection.settimeout(REQUEST_SECONDS)
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError as error:
            log.warning("cannot answer a control request", reason=str(error))


def _answer(connection: socket.socket, handle: Handler) -> dict[str, Any]:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    uid = _PEER.unpack(peer)[1]
    if uid not in (0, os.geteuid()):
        return {
            "error": f"user {uid} has no access to the control socket",
            "hint": f"run the command as user {os.geteuid()} or as root",
            "exit_code": 77,
        }
    try:
        return handle(_read(connection))
    except AgentError as error:
        return {"error": error.what, "hint": error.hint, "exit_code": error.exit_code}
    except Exception:  # a bug must not end the daemon
        log.exception("a request failed with an unexpected internal error", hint=REPORT)
        return {
            "error": UNEXPECTED,
            "hint": REPORT,
            "exit_code": 70,
        }


def _read(connection: socket.socket) -> dict[str, Any]:
    try:
        line = read_line(connection, REQUEST_BYTES, REQUEST_SECONDS)
        request = json.loads(line)
    except (ValueError, RecursionError, OSError):
        raise RequestUnknown from None
    if not isinstance(request, dict):
        raise RequestUnknown
    expires_at = request.pop(EXPIRES_AT, NEVER)
    if not isinstance(expires_at, int | float):
        raise RequestUnknown
    if time.monotonic() > expires_at:
        log.warning(
            "a control request is not carried out: its command has given up",
            command=str(request.get("command")),
        )
        raise WishRefused("the request came too late", "repeat the command")
    return request
