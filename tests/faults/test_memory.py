"""Strangers attack an agent in 64 MiB, and operators work in 128: nobody is killed."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
import requests
from cgroup import MIB, Cgroup, is_available, memory_limit

from lab.process import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.process,
    pytest.mark.alone,
    pytest.mark.skipif(
        not is_available(), reason="needs root and cgroups of version 1"
    ),
]

DSN = f"https://{'a' * 32}@sentry.example.org/1"
AGENT = [sys.executable, "-m", "agent"]
LIMIT_MIB = 64
COMMANDS_MIB = 128
SPARE_MIB = 10
"""An agent that reads Vault uses so much more than one of a mounted source."""


class Agent:
    """An agent in a cgroup."""

    def __init__(self, folder: Path, cgroup: Cgroup, **settings: str) -> None:
        self.cgroup = cgroup
        self.port, self.probes = free_port(), free_port()
        self.receipts = folder / "receipts"
        self.volume = folder / "volume"
        self._log = (folder / "log").open("wb+")
        source = folder / "secret.env"
        source.write_text(f"SENTRY_DSN={DSN}\n")
        self.env = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_RECEIPTS": str(self.receipts),
            "RESENTRY_SOURCE_PATH": str(source),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "RESENTRY_PROBES_LISTEN": f"127.0.0.1:{self.probes}",
            "RESENTRY_DSN_CHECK": "off",
            "RESENTRY_POLL_SECONDS": "1",
            **settings,
        }
        self._popen = self.start("run", stdout=self._log, stderr=self._log)

    def start(self, *args: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start a command in the agent's cgroup, as `kubectl exec` does."""
        return subprocess.Popen(
            self.cgroup.within(*AGENT, *args),
            env=self.env,
            stdin=subprocess.DEVNULL,
            **how,
        )

    def __enter__(self) -> Self:
        eventually(self.is_live, what="the first health check")
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()
        self._log.close()

    def is_live(self) -> bool:
        """Whether the kubelet's health check is answered."""
        with contextlib.suppress(requests.RequestException):
            url = f"http://127.0.0.1:{self.probes}/livez"
            return requests.get(url, timeout=2).status_code == 200
        return False

    def log_lines(self) -> int:
        """Return how many lines the agent has logged."""
        self._log.seek(0)
        return self._log.read().count(b"\n")

    @property
    def is_alive(self) -> bool:
        """Whether it runs, and was never killed."""
        return self._popen.poll() is None and self.cgroup.kills == 0

    def cpu_seconds(self) -> float:
        """Return the time of a processor that it has used."""
        with open(f"/proc/{self._popen.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> float:
        """End the agent, and return how long that took."""
        began = time.monotonic()
        self._popen.send_signal(signal.SIGTERM)
        assert self._popen.wait(30) == 0
        return time.monotonic() - began


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """An agent in the memory that strangers may fill."""
    with memory_limit(LIMIT_MIB) as cgroup:
        with Agent(tmp_path, cgroup) as agent:
            yield agent
        assert cgroup.peak_mib < LIMIT_MIB - SPARE_MIB


# HTTP


@pytest.fixture
def connect(agent: Agent) -> Iterator[Any]:
    """Open connections to the port of the health checks."""
    with contextlib.ExitStack() as stack:

        def open_one() -> socket.socket:
            address = "127.0.0.1", agent.probes
            return stack.enter_context(socket.create_connection(address, 10))

        yield open_one


@pytest.mark.parametrize(
    "body",
    [
        b"POST / HTTP/1.1\r\nContent-Length: 600000\r\n\r\n" + b"x" * 500_000,
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 500_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 250_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 40_000,
    ],
    ids=["unfinished bodies", "unfinished chunks", "long headers", "many headers"],
)
def test_unfinished_requests_kill_no_agent(
    agent: Agent, connect: Any, body: bytes
) -> None:
    """Ninety of them, while the health check is answered."""
    for number in range(90):
        with contextlib.suppress(OSError):
            connect().sendall(body)
        if number % 30 == 0:
            assert agent.is_live()
    assert agent.is_live()
    assert agent.is_alive


def test_slow_connections_keep_no_health_check_out(agent: Agent, connect: Any) -> None:
    """A hundred send a byte now and then, for as long as they like."""
    opened = [connect() for _ in range(100)]
    end = time.monotonic() + 15
    while time.monotonic() < end:
        for number, connection in enumerate(opened):
            try:
                connection.sendall(b"G")
            except OSError:
                opened[number] = connect()
        assert agent.is_live()
        time.sleep(0.2)
    assert agent.is_alive


def test_a_huge_body_is_neither_kept_nor_written(agent: Agent, connect: Any) -> None:
    """It is refused by its length."""
    connection = connect()
    connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
    with contextlib.suppress(OSError):
        for _ in range(100):
            connection.sendall(b"x" * MIB)
    assert agent.is_live()
    assert agent.is_alive


# Receipts


_HOLD = """
import fcntl, os, resource, sys
directory, number, body = sys.argv[1], int(sys.argv[2]), sys.argv[3]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
text, kept = open(body).read(), []
for each in range(number):
    name = f"{each:016x}"
    with open(f"{directory}/{name}.json", "w") as file:
        file.write(text.replace("ID", name).replace("ROLE", f"r{each}"))
    lock = open(f"{directory}/{name}.lock", "w")
    fcntl.lockf(lock, fcntl.LOCK_EX)
    kept.append(lock)
print("held", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def strangers(agent: Agent, tmp_path: Path, number: int, **more: Any) -> Iterator[None]:
    """Let another process hold so many locks, with receipts of this content."""
    given = {
        "schema": 1,
        "id": "ID",
        "role": "ROLE",
        "pid": 1,
        "pidns": 1,
        "start_time": 1,
        **more,
    }
    body = tmp_path / "receipt"
    body.write_text(json.dumps(given, ensure_ascii=False))
    args = [sys.executable, "-c", _HOLD, str(agent.receipts), str(number), str(body)]
    with subprocess.Popen(
        args, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        yield
        process.kill()


LARGE = {
    "tally": {f"{n:05}": n for n in range(4500)},
    "error": "\U0001f600" * 1000,
    "ignored": ["x"] * 500,
}


@pytest.mark.parametrize(
    ("number", "more"),
    [
        (62, LARGE),
        (500, {"error": "\U0001f600" * 900}),
        (5000, {}),
    ],
    ids=["large ones", "many of a moderate size", "thousands"],
)
def test_receipts_of_strangers_kill_no_agent(
    agent: Agent, tmp_path: Path, number: int, more: dict[str, Any]
) -> None:
    """Memory, processor and the time of SIGTERM stay bounded."""
    with strangers(agent, tmp_path, number, **more):
        used, began = agent.cpu_seconds(), time.monotonic()
        for _ in range(20):
            url = f"http://127.0.0.1:{agent.port}/status"
            assert requests.get(url, timeout=10).status_code == 200
            assert agent.is_live()
            time.sleep(0.5)
        share = (agent.cpu_seconds() - used) / (time.monotonic() - began)
        assert agent.is_alive
        assert share < 0.6
        assert agent.end() < 5


def test_a_receipt_that_changes_all_the_time_floods_nothing(
    agent: Agent, tmp_path: Path
) -> None:
    """Neither the log nor a processor."""
    stop = threading.Event()

    def change() -> None:
        path, number = agent.receipts / f"{0:016x}.json", 0
        while not stop.is_set():
            number += 1
            text = json.dumps(
                {
                    "schema": 1,
                    "id": f"{0:016x}",
                    "role": f"r{number}",
                    "pid": 1,
                    "pidns": 1,
                    "start_time": 1,
                    "sequence": number % 3,
                    "error": f"error {number}" if number % 2 else None,
                }
            )
            temporary = (
                agent.receipts / "beside.tmp"
            )  # not beside the source: no stranger can
            temporary.write_text(text)
            temporary.rename(path)

    with strangers(agent, tmp_path, 1):
        before = agent.log_lines()
        changing = threading.Thread(target=change)
        changing.start()
        used, began = agent.cpu_seconds(), time.monotonic()
        time.sleep(10)
        share = (agent.cpu_seconds() - used) / (time.monotonic() - began)
        stop.set()
        changing.join()
        assert agent.is_live()
        assert agent.is_alive
        assert share < 0.6
        assert agent.log_lines() - before < 200


# Vault


class Vault(ThreadingHTTPServer):
    """Answers what a test tells it to, for the secret; the token is always good."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _VaultRequest)
        self.status, self.body = 200, b"{}"
        self.reads = 0


class _VaultRequest(BaseHTTPRequestHandler):
    server: Vault
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        status, body = 200, b'{"data": {"ttl": 0, "renewable": false}}'
        if "/secret/" in self.path:
            self.server.reads += 1
            status, body = self.server.status, self.server.body
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The test's output is not the place for it."""


@pytest.fixture
def vault() -> Iterator[Vault]:
    with Vault() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def secret(fields: bytes) -> bytes:
    """Return the answer of a KV version 2 mount."""
    metadata = b'{"version": 1, "created_time": "2026-11-24T06:00:00.000Z"}'
    return b'{"data": {"data": {%s}, "metadata": %s}}' % (fields, metadata)


GOOD = b'"SENTRY_DSN": "' + DSN.encode() + b'"'


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, secret(GOOD + b', "x": [' + b"[]," * 349_000 + b"[]]")),
        (200, secret(GOOD + b', "x": {' + b'"":{},' * 170_000 + b'"y":1}')),
        (200, b"[" * 2_000_000),
        (200, secret(b'"x": "' + b"y" * 3_000_000 + b'"')),
        (503, b"[" + b"{}," * 690_000 + b"{}]"),
        (403, b'{"errors": [' + b'"x",' * 500_000 + b'"y"]}'),
    ],
    ids=["lists", "objects", "depth", "length", "503", "403"],
)
def test_an_answer_of_vault_kills_no_agent(
    tmp_path: Path, vault: Vault, status: int, body: bytes
) -> None:
    """It is read within a budget, pass after pass, and a good answer is taken then."""
    vault.status, vault.body = status, body
    settings = {
        "RESENTRY_SOURCE_PATH": "",
        "RESENTRY_VAULT_ADDR": f"http://127.0.0.1:{vault.server_port}",
        "RESENTRY_VAULT_PATHS": "secret/data/lms",
        "RESENTRY_VAULT_TOKEN": "hvs.0123456789abcdefghijklmnop",
        "RESENTRY_VAULT_KV_VERSION": "2",
    }
    with memory_limit(LIMIT_MIB) as cgroup:
        with Agent(tmp_path, cgroup, **settings) as agent:
            before = vault.reads
            eventually(lambda: vault.reads >= before + 4, within=60, what="four reads")
            assert agent.is_live()
            assert agent.is_alive
            vault.status, vault.body = 200, secret(GOOD)
            eventually(
                (agent.volume / "settings.json").exists, within=60, what="the snapshot"
            )
        assert cgroup.kills == 0
        assert cgroup.peak_mib < LIMIT_MIB - SPARE_MIB / 2


# Commands


def test_four_commands_at_once_fit_beside_the_agent(tmp_path: Path) -> None:
    """The heavy ones wait for each other."""
    with memory_limit(COMMANDS_MIB) as cgroup:
        with Agent(tmp_path, cgroup) as agent:
            for names in (
                [["check"]] * 4,
                [["wait", "--timeout", "3"]] * 4,
                [["refresh"]] * 4,
                [["check"], ["status"], ["history"], ["refresh"]],
            ):
                started = [
                    agent.start(
                        *name, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                    )
                    for name in names
                ]
                codes = [one.wait(120) for one in started]
                assert set(codes) <= {0, 1}, codes
            assert agent.is_alive
            assert agent.is_live()
        assert cgroup.peak_mib < COMMANDS_MIB - SPARE_MIB


def test_the_locks_of_this_test_fit() -> None:
    """Else the attack would be smaller than it says."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 5100
