"""The control socket: who may ask, and what a bad request does to it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from agent import control
from agent.call import call
from agent.control import (
    REQUEST_BYTES,
    REQUESTS_AT_ONCE,
    WAITING_AT_ONCE,
    serve,
)
from agent.errors import AgentAway, AgentError, SettingsError, WishRefused
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return f"{tmp_path}/agent/control.sock"


@pytest.fixture
def served(path: str) -> str:
    """A socket whose daemon answers what it was asked."""

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if request.get("command") == "refuse":
            raise WishRefused("no", "because")
        if request.get("command") == "break":
            raise RuntimeError("a mistake of ours")
        return {"asked": request["command"]}

    serve(path, handle)
    return path


@pytest.fixture
def raw(served: str) -> Iterator[socket.socket]:
    """A connection on which anything can be sent."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(served)
        yield connection


def answer(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as file:
        found: dict[str, Any] = json.loads(file.readline())
    return found


def works(path: str) -> bool:
    return call(path, {"command": "x"}, 10) == {"asked": "x"}


def works_at_last(path: str) -> bool:
    """As `works`, where the agent may still be busy."""
    try:
        return works(path)
    except AgentError:
        return False


def test_a_request_is_answered(served: str) -> None:
    """One JSON object there, one back."""
    assert call(served, {"command": "refresh"}, 10) == {"asked": "refresh"}


def test_directory_and_socket_are_the_agent_s_alone(served: str) -> None:
    """0700 and 0600, whatever the umask."""
    assert stat.S_IMODE(os.stat(os.path.dirname(served)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(served).st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o777])
def test_a_directory_that_is_open_to_others_is_refused(path: str, mode: int) -> None:
    """The agent does not start with it, and makes no socket there."""
    folder = os.path.dirname(path)
    os.mkdir(folder)
    os.chmod(folder, mode)
    with pytest.raises(SettingsError, match="have access to this directory"):
        serve(path, dict)
    assert os.listdir(folder) == []


@as_root
def test_a_directory_of_another_user_is_refused(path: str) -> None:
    """Its owner could put a socket of his own in the place."""
    folder = os.path.dirname(path)
    os.mkdir(folder, 0o700)
    os.chown(folder, 65534, -1)
    with pytest.raises(SettingsError, match="have access to this directory"):
        serve(path, dict)


_AS_NOBODY = """
import os, sys
from agent.call import call
from agent.errors import AgentError
folder = os.open(os.path.dirname(sys.argv[1]), os.O_RDONLY)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    os.fchdir(folder)  # the folders above are closed to this user anyway
    call("control.sock", {"command": "refresh"}, 10)
except OSError as error:
    print("cannot go there:", error.strerror)
except AgentError as error:
    print(error.exit_code, error.what)
"""


def ask_as_nobody(path: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", _AS_NOBODY, path],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


@pytest.mark.process
@as_root
def test_another_user_cannot_even_connect(served: str) -> None:
    """Neither through the directory nor, if that were open, to the socket."""
    assert ask_as_nobody(served) == "cannot go there: Permission denied"
    os.chmod(os.path.dirname(served), 0o755)
    said = ask_as_nobody(served)
    assert said.startswith("76 no agent answers")
    assert "Permission denied" in said


@pytest.mark.process
@as_root
def test_the_kernel_says_who_asks(served: str) -> None:
    """Where modes were opened by mistake another user still is answered no."""
    os.chmod(os.path.dirname(served), 0o755)
    os.chmod(served, 0o666)
    assert ask_as_nobody(served) == "77 user 65534 has no access to the control socket"
    assert works(served)


_AS_NOBODY_AGENT = """
import os, sys
from agent.control import serve
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
serve(sys.argv[1], lambda request: {"asked": request["command"]})
print("serves", flush=True)
sys.stdin.read()
"""


@pytest.mark.process
@as_root
def test_root_may_steer_an_agent_of_another_user(tmp_path: Path, path: str) -> None:
    """As with `kubectl exec` into the agent's container."""
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    os.chown(tmp_path, 65534, -1)
    with subprocess.Popen(
        [sys.executable, "-c", _AS_NOBODY_AGENT, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"serves\n"
        assert works(path)
        process.kill()


@pytest.mark.parametrize(
    "body",
    [
        b"\n",
        b"{\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"order": 1}\n',
        b"[" * 30_000 + b"\n",
    ],
)
def test_what_is_no_request_is_answered_so(
    served: str, raw: socket.socket, body: bytes
) -> None:
    """And the next one is answered as ever."""
    raw.sendall(body)
    assert answer(raw)["exit_code"] == 70
    assert works(served)


def test_half_a_request_is_answered_when_its_end_does_not_come(
    served: str, raw: socket.socket
) -> None:
    """The other side closed its half."""
    raw.sendall(b'{"command": "ref')
    raw.shutdown(socket.SHUT_WR)
    assert "does not know the request" in answer(raw)["error"]
    assert works(served)


def test_a_silent_client_is_answered_after_the_deadline(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So its thread ends."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.settimeout(10)
        silent.connect(served)
        assert "does not know the request" in answer(silent)["error"]


def test_a_silent_client_keeps_nobody_waiting(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever connects and says nothing."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 60.0)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(served)
        assert works(served)


def test_no_request_waits_for_another(path: str) -> None:
    """A refresh lasts as long as a pass. Many of them keep no other request out."""
    ended, begun = threading.Event(), threading.Semaphore(0)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        if request["command"] == "refresh":
            begun.release()
            ended.wait(30)
        return {"asked": request["command"]}

    serve(path, handle)
    with ThreadPoolExecutor(WAITING_AT_ONCE) as pool:
        try:
            refreshes = []
            for _ in range(WAITING_AT_ONCE):
                refreshes.append(pool.submit(call, path, {"command": "refresh"}, 30))
                assert begun.acquire(timeout=10)
            with pytest.raises(AgentError, match="commands already"):
                call(path, {"command": "refresh"}, 10)
            assert works(path)
        finally:
            ended.set()
    assert [each.result() for each in refreshes] == [
        {"asked": "refresh"}
    ] * WAITING_AT_ONCE
    eventually(lambda: works_at_last(path))


def test_too_many_requests_are_told_so(path: str) -> None:
    """Each takes a thread, so their number has a limit."""
    ended, begun = threading.Event(), threading.Semaphore(0)

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        begun.release()
        ended.wait(30)
        return {"asked": request["command"]}

    serve(path, handle)
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        try:
            for _ in range(REQUESTS_AT_ONCE):
                pool.submit(call, path, {"command": "y"}, 30)
                assert begun.acquire(timeout=10)
            with pytest.raises(AgentError, match="commands already"):
                call(path, {"command": "x"}, 10)
        finally:
            ended.set()


def test_a_client_that_drips_is_answered_after_the_deadline(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time counts for the whole request, not for each byte."""
    monkeypatch.setattr(control, "REQUEST_SECONDS", 0.3)
    with socket.socket(socket.AF_UNIX) as drip:
        drip.settimeout(10)
        drip.connect(served)

        def is_answered() -> bool:
            with contextlib.suppress(BrokenPipeError):
                drip.sendall(b" ")
            return bool(select.select([drip], [], [], 0.05)[0])

        eventually(is_answered, what="the answer")
        assert "does not know the request" in answer(drip)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"hello\n",
        b"[]\n",
        b"7\n",
        b'{"error": "x"}\n',
        b'{"error": "x", "exit_code": "1"}\n',
        b"[" * 100_000 + b"\n",
        b"\xff\n",
    ],
)
def test_a_foreign_answer_is_told_in_words(tmp_path: Path, body: bytes) -> None:
    """Something else listens at the path of the control socket."""
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()

        def reply() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(body)

        with ThreadPoolExecutor(1) as pool:
            pool.submit(reply)
            with pytest.raises(AgentAway, match="is no agent of this version"):
                call(path, {"command": "x"}, 10)


def test_a_request_without_an_answer_is_sent_again_and_done_once(path: str) -> None:
    """The daemon knows it by its id; the operator gets the answer of the first one."""
    seen: list[str] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        seen.append(request["request_id"])
        if len(seen) == 1:
            time.sleep(1)
        return {"asked": request["command"]}

    serve(path, handle)
    answered = call(path, {"command": "x", "request_id": "7"}, 0.2)
    assert answered == {"asked": "x"}
    assert seen == ["7", "7"]


def test_an_agent_that_ends_before_its_answer_may_have_done_the_request(
    path: str,
) -> None:
    """Who repeats the command goes one revision too far: the hint says where to look."""
    os.mkdir(os.path.dirname(path), 0o700)

    def end() -> None:
        connection, _ = server.accept()
        connection.recv(REQUEST_BYTES)
        server.close()
        os.unlink(path)
        connection.close()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        ending = threading.Thread(target=end, daemon=True)
        ending.start()
        with pytest.raises(AgentAway) as raised:
            call(path, {"command": "rollback"}, 10)
        ending.join()
    assert "may have carried the request out" in raised.value.hint
    assert "resentry-agent history" in raised.value.hint


@pytest.mark.parametrize(
    ("command", "hint"),
    [("rollback", "resentry-agent history"), ("verify", "not carry the request out")],
)
def test_what_an_agent_reads_after_its_command_has_given_up_is_not_done(
    path: str, monkeypatch: pytest.MonkeyPatch, command: str, hint: str
) -> None:
    """An agent was stopped, and goes on: nobody waits for the request any more."""
    monkeypatch.setattr("agent.call.AGAIN_SECONDS", 0.1)
    os.mkdir(os.path.dirname(path), 0o700)
    done: list[str] = []

    def handle(request: dict[str, Any]) -> dict[str, Any]:
        done.append(request["command"])
        return {}

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        with pytest.raises(AgentAway) as raised:
            call(path, {"command": command}, 0.1)
        assert hint in raised.value.hint
        threading.Thread(target=control._answer_all, args=(server, handle)).start()
        assert call(path, {"command": "x"}, 10) == {}
        server.shutdown(socket.SHUT_RDWR)
    assert done == ["x"]


def test_a_huge_request_is_not_read_to_its_end(served: str, raw: socket.socket) -> None:
    """No more than the limit is kept in memory."""
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        raw.sendall(b" " * 100 * REQUEST_BYTES)
    assert works(served)


def test_a_client_that_is_gone_does_no_harm(served: str, raw: socket.socket) -> None:
    """Its answer has no reader."""
    raw.sendall(b'{"command": "x"}\n')
    raw.close()
    assert works(served)


def test_an_error_comes_back_as_it_was_raised(served: str) -> None:
    """With its hint and exit code; one that nobody thought of is 70."""
    with pytest.raises(AgentError, match="no") as caught:
        call(served, {"command": "refuse"}, 10)
    assert (caught.value.exit_code, caught.value.hint) == (1, "because")
    with pytest.raises(AgentError, match="the agent's log") as caught:
        call(served, {"command": "break"}, 10)
    assert caught.value.exit_code == 70
    assert works(served)


def test_the_socket_of_a_killed_agent_is_replaced(path: str) -> None:
    """Its file is still there; nobody answers at it, then the new agent does."""
    os.mkdir(os.path.dirname(path), 0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(path)
    with pytest.raises(AgentAway, match="no agent answers"):
        call(path, {"command": "x"}, 10)
    serve(path, lambda request: {"asked": request["command"]})
    assert works(path)


def test_without_an_agent_the_caller_is_told(path: str) -> None:
    """Exit code 76, with the path."""
    with pytest.raises(AgentAway, match="no agent answers") as caught:
        call(path, {"command": "x"}, 10)
    assert caught.value.exit_code == 76
    assert path in caught.value.what


@pytest.mark.parametrize("kind", ["too long", "a directory", "no rights"])
def test_a_path_that_cannot_be_listened_at_is_a_settings_error(
    tmp_path: Path, path: str, kind: str
) -> None:
    """It names the setting."""
    if kind == "too long":
        path = f"{tmp_path}/{'x' * 100}/control.sock"
    elif kind == "a directory":
        os.makedirs(path, 0o700)
        os.chmod(os.path.dirname(path), 0o700)
    else:
        path = "/proc/self/control/control.sock"
    with pytest.raises(SettingsError, match="cannot open the control socket") as caught:
        serve(path, dict)
    assert "RESENTRY_CONTROL" in caught.value.hint


@pytest.mark.slow
def test_without_a_descriptor_left_it_goes_on_later(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread outlives an `accept` that fails.

    `accept` is replaced because this process needs its descriptors.
    """
    failed = threading.Event()
    real = socket.socket.accept

    def accept(server: socket.socket) -> Any:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EMFILE, "Too many open files")
        return real(server)

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "accept", accept)
        assert works(served)  # the call that waited in the real one
        eventually(failed.is_set)
        assert works(served)
