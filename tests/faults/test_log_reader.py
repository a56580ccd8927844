"""Nobody reads what the agent logs: a pipe that is full or closed, a disk that is full."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import pytest
import requests

from lab.process import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.process

AGENT = [sys.executable, "-m", "agent"]
DSN = "https://{}@sentry.example.org/1"
SET_PIPE_SIZE = 1031


class Agent:
    """An agent of a mounted source, whose standard error is what a test gives."""

    def __init__(self, folder: Path, stderr: int | None) -> None:
        self.port = free_port()
        self._secret = folder / "secret"
        self._secret.mkdir()
        self.write("a" * 32)
        self.env = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(folder / "volume"),
            "RESENTRY_SOURCE_PATH": str(self._secret),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_DSN_CHECK": "off",
            "RESENTRY_LOG_LEVEL": "debug",
            "PYTHONUNBUFFERED": "1",
        }
        closing = {} if stderr is not None else {"preexec_fn": lambda: os.close(2)}
        self._popen = subprocess.Popen(
            [*AGENT, "run"],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            **closing,  # type: ignore[call-overload]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.kill()
        self._popen.wait()

    def write(self, key: str) -> None:
        """Put another DSN at the source."""
        (self._secret / "SENTRY_DSN").write_text(DSN.format(key))

    def answers(self, path: str) -> bool:
        """Whether that path is answered with 200."""
        with contextlib.suppress(requests.RequestException):
            url = f"http://127.0.0.1:{self.port}{path}"
            return requests.get(url, timeout=5).status_code == 200
        return False

    def metric(self, name: str) -> float:
        """Return the value of one metric without labels."""
        text = requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=5).text
        (line,) = [one for one in text.splitlines() if one.startswith(f"{name} ")]
        return float(line.split()[1])

    def command(self, *args: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run one command."""
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.run(
            [*AGENT, *args],
            env=self.env,
            text=True,
            timeout=60,
            check=False,
            **given,
        )

    def sequence(self) -> int:
        """Return the sequence number that is published."""
        with contextlib.suppress(OSError, ValueError):
            path = f"{self.env['RESENTRY_DIR']}/settings.json"
            with open(path, encoding="utf-8") as file:
                return int(json.load(file)["sequence"])
        return 0

    def ended(self) -> int:
        """Ask the agent to end, and return its exit code."""
        self._popen.send_signal(signal.SIGTERM)
        return self._popen.wait(10)


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full, and whose reader does not read."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, SET_PIPE_SIZE, 4096)
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    yield reader, writer
    for number in (reader, writer):
        with contextlib.suppress(OSError):
            os.close(number)


def works(agent: Agent) -> None:
    """Passes go on, commands and health checks are answered, SIGTERM ends the agent."""
    eventually(lambda: agent.sequence() == 1, what="the first snapshot")
    eventually(lambda: agent.answers("/livez"), what="the health check")
    agent.write("b" * 32)
    assert agent.command("refresh").returncode == 0
    assert agent.sequence() == 2
    agent.write("c" * 32)
    eventually(lambda: agent.sequence() == 3, what="a poll that publishes")
    assert agent.command("rollback").returncode == 0
    assert agent.answers("/livez")


def test_a_pipe_that_nobody_reads_stops_nothing(
    tmp_path: Path, full_pipe: tuple[int, int]
) -> None:
    """Lines wait in a bounded queue; passes, commands and SIGTERM wait for nobody."""
    with Agent(tmp_path, full_pipe[1]) as agent:
        works(agent)
        assert agent.ended() == 0


@pytest.mark.parametrize("stderr", ["closed", "full disk", "closed pipe"])
def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, stderr: str, full_pipe: tuple[int, int]
) -> None:
    """What is lost is counted."""
    reader, writer = full_pipe
    if stderr == "closed pipe":
        os.close(reader)
    number = writer if stderr == "closed pipe" else None
    if stderr == "full disk":
        number = os.open("/dev/full", os.O_WRONLY)
    with Agent(tmp_path, number) as agent:
        works(agent)
        eventually(
            lambda: agent.metric("resentry_log_lines_lost_total") > 0,
            what="the lost lines in the metrics",
        )
        assert agent.ended() == 0


@pytest.mark.parametrize("name", ["once", "status", "check"])
def test_a_command_ends_though_nobody_reads_its_errors(
    tmp_path: Path, full_pipe: tuple[int, int], name: str
) -> None:
    """A command has a warning to print, and gives it up after a moment."""
    with Agent(tmp_path, subprocess.DEVNULL) as agent:
        eventually(lambda: agent.sequence() == 1, what="the first snapshot")
        assert agent.ended() == 0
        agent.env["RESENTRY_NO_SUCH_SETTING"] = "1"  # one warning
        began = time.monotonic()
        ran = agent.command(name, stderr=full_pipe[1])
        assert ran.returncode in (0, 1)
        assert time.monotonic() - began < 30
