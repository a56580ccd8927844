"""Sends a command's request to the running agent, through the control socket.

This module imports little: each command is a process in the agent's container.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from typing import Any

from agent.errors import AgentAway, AgentError, WishRefused

STATUS = {"command": "status"}
"""The request that asks what the agent knows. It changes nothing, and waits for nobody."""
STATUS_SECONDS = 3.0
"""The time limit for the answer to `STATUS`. A healthy agent needs milliseconds."""
LOG_LEVEL = "log_level"
"""The command of the request that asks for the level of the agent's log, or changes it."""
EXPIRES_AT = "expires_at"
"""The field of a request that says when its command gives up. It is a monotonic time, which
is the same for all processes of a host."""
NOT_IN_HISTORY = (LOG_LEVEL, "verify", "renew-verify", "end-verify")
_LATER = (
    "the agent does not carry the request out later; resentry-agent status shows whether "
    "the agent runs"
)
_UNCERTAIN = (
    "the agent may have carried the request out: look at resentry-agent history before you "
    "repeat the command"
)
ANSWER_BYTES = 4 * 1024 * 1024
REQUEST_BYTES = 64 * 1024
AGAIN_SECONDS = 5.0
"""The time limit for the answer to a request that is sent again."""
ANSWER_SECONDS = 5.0
"""The time limit for an answer. A `refresh` has that of two passes in addition."""


def identity(directory: str) -> str:
    """Return what a directory is known by in every container that mounts it."""
    try:
        status = os.stat(directory)
    except OSError:
        return os.path.realpath(directory)
    return f"{status.st_dev}:{status.st_ino}"


def answer_seconds(request: dict[str, Any], pass_seconds: float) -> float:
    """Return the time limit for the answer to a request.

    A `refresh` may wait for the end of a running pass, and then for a pass of its own.
    """
    passes = 2 if request["command"] == "refresh" else 0
    return ANSWER_SECONDS + passes * pass_seconds


def call(path: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send one request to the daemon. Return its answer, or raise its error.

    A request that was sent and got no answer is sent once more. The daemon knows it by its
    `request_id`, and does not carry it out twice. A daemon that was started meanwhile does
    not know it: an agent takes longer to start than this waits. A daemon that reads the
    request after the command has given up does not carry it out.
    """
    expires_at = time.monotonic() + seconds + AGAIN_SECONDS
    request = {**request, EXPIRES_AT: expires_at}
    if len(json.dumps(request)) >= REQUEST_BYTES:
        raise WishRefused(
            f"the request is larger than {REQUEST_BYTES // 1024} KiB",
            "give a shorter argument",
        )
    try:
        return call_once(path, request, seconds)
    except Silent:
        try:
            return call_once(path, request, AGAIN_SECONDS)
        except (Silent, AgentAway) as error:
            raise AgentAway(
                f"the agent at the control socket {path} gave no answer: {error}",
                _LATER if request["command"] in NOT_IN_HISTORY else _UNCERTAIN,
            ) from None


class Silent(Exception):
    """Something listens at the control socket, and no answer came."""


def call_once(path: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Send one request to the daemon, once. Return its answer, or raise its error.

    Raises `Silent` if no answer came, and `AgentAway` if nothing listens there.
    """
    answer = _exchange(path, request, seconds)
    if "error" in answer:
        failed = AgentError(str(answer["error"]), str(answer.get("hint", "")))
        failed.exit_code = answer["exit_code"]
        raise failed
    return answer


def _exchange(path: str, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(path)
        except (BlockingIOError, TimeoutError):  # so many connections wait already
            raise Silent("it accepts no connection") from None
        except OSError as error:
            raise AgentAway(
                f"no agent answers at the control socket {path}: "
                f"{error.strerror or error}",
                "check that resentry-agent run is running; use this command in the same "
                "container, as the same user, with the same RESENTRY_DIR or "
                "RESENTRY_CONTROL",
            ) from None
        try:
            with contextlib.suppress(BrokenPipeError):  # refused before it was read
                connection.sendall(json.dumps(request).encode() + b"\n")
            line = read_line(connection, ANSWER_BYTES, seconds)
        except (OSError, ValueError) as error:
            raise Silent(getattr(error, "strerror", None) or str(error)) from None
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise _foreign(path) from None
    is_answer = isinstance(answer, dict) and (
        type(answer.get("exit_code", 0)) is int
        and ("error" not in answer or "exit_code" in answer)
    )
    if not is_answer:
        raise _foreign(path)
    return dict(answer)


def _foreign(path: str) -> AgentAway:
    return AgentAway(
        f"what answers at the control socket {path} is no agent of this version",
        "check RESENTRY_CONTROL; use the resentry-agent of the same version as the agent",
    )


def read_line(connection: socket.socket, limit: int, seconds: float) -> bytes:
    """Return one line. It must be there within the seconds, and within the limit."""
    deadline = time.monotonic() + seconds
    parts: list[bytes] = []
    size = 0
    while not parts or not parts[-1].endswith(b"\n"):
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        part = connection.recv(64 * 1024)
        size += len(part)
        if not part or size > limit:
            raise ValueError("the line is not complete")
        parts.append(part)
    return b"".join(parts)
