"""The Unix socket through which the commands steer the daemon.

One JSON object a line, there and back. The socket is the agent's user's alone, and the
kernel says who is at the other end: that user or root.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog

from agent.errors import AgentAway, AgentError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    Handler = Callable[[dict[str, Any]], dict[str, Any]]

REQUEST_BYTES = 64 * 1024
REQUEST_SECONDS = 5.0
_PEER = struct.Struct("iII")  # struct ucred: pid, uid, gid

log = structlog.get_logger()


def serve(path: str, handle: Handler) -> None:
    """Answer requests at `path` from a daemon thread, one after the other."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        found = os.stat(folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise SettingsError(
                f"{folder} is open to others than user {os.geteuid()}",
                "RESENTRY_CONTROL must be in a directory of the agent's alone (0700)",
            )
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # of an agent that was killed: the volume's lock is ours
        server = _bind(path)
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {path}: {error.strerror or error}",
            "set RESENTRY_CONTROL to a path of at most 107 bytes that can be written",
        ) from None
    threading.Thread(
        target=_answer_all, args=(server, handle), name="control", daemon=True
    ).start()


def _bind(path: str) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(path)
        os.chmod(path, 0o600)
        server.listen(8)
    except OSError:
        server.close()
        raise
    return server


def _answer_all(server: socket.socket, handle: Handler) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError as error:  # no descriptor is left; one may be given back
            log.warning("no control request can be taken", reason=str(error))
            time.sleep(1)
            continue
        with connection:
            connection.settimeout(REQUEST_SECONDS)
            try:
                connection.sendall(
                    json.dumps(_answer(connection, handle)).encode() + b"\n"
                )
            except OSError as error:
                log.warning("a control request failed", reason=str(error))


def _answer(connection: socket.socket, handle: Handler) -> dict[str, Any]:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    uid = _PEER.unpack(peer)[1]
    if uid not in (0, os.geteuid()):
        return {"error": f"user {uid} may not steer this agent", "exit_code": 77}
    try:
        request = json.loads(_read_line(connection))
        if not isinstance(request, dict):
            raise ValueError("not an object")
        return handle(request)
    except AgentError as error:
        return {"error": error.what, "hint": error.hint, "exit_code": error.exit_code}
    except (ValueError, TypeError, KeyError, TimeoutError):
        return {"error": "not a request that this agent knows", "exit_code": 70}
    except Exception:  # the daemon outlives every mistake of ours
        log.exception("a control request failed in an unexpected way")
        return {"error": "an unexpected error, see the agent's log", "exit_code": 70}


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        part = connection.recv(4096)
        if not part or len(line) > REQUEST_BYTES:
            raise ValueError("no whole request")
        line += part
    return line


def call(path: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send one request to the daemon and return its answer, or raise its error."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(path)
            with contextlib.suppress(BrokenPipeError):  # it refused us before reading
                connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answer:
                found: dict[str, Any] = json.loads(answer.readline())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AgentAway(
            f"no agent answers at {path}: {reason}",
            "run this where the agent runs, as its user; is resentry-agent run up?",
        ) from None
    if "error" in found:
        failed = AgentError(found["error"], found.get("hint", ""))
        failed.exit_code = found["exit_code"]
        raise failed
    return found
