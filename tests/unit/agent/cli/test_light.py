"""Commands are light: each is a process in the agent's container."""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.publish.volume import Volume
from lab.process import eventually

pytestmark = pytest.mark.process

HEAVY = {
    *("hvac", "requests", "urllib3", "structlog", "waitress", "prometheus_client"),
    *("apscheduler", "watchdog", "asyncio", "http.client", "ssl"),
}


@pytest.mark.parametrize(
    "name",
    [
        *("status", "wait", "verify", "history", "refresh", "rollback", "boost"),
        *("log-level", "explain", "validate"),
    ],
)
def test_a_command_imports_little(name: str) -> None:
    """What only the agent needs stays out."""
    code = (
        "import sys, agent.cli\n"
        f"agent.cli.group.get_command(None, {name!r})\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()


def test_the_agent_imports_no_sdk_unless_it_is_asked_to() -> None:
    """Each pod pays for what is imported: the own events, the page's findings."""
    code = (
        "import sys, agent.cli.run, agent.daemon, agent.services, agent.source.vault\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    modules = set(done.stdout.split())
    late = {"sentry_sdk", "agent.observe.own", "agent.doctor.examine"}
    late |= {"agent.source.tuning", "agent.source.files", "agent.domain.tuning_file"}
    late |= {"agent.bridge", "uvicorn", "h11", "sqlite3"}  # never in the sidecar
    assert late & modules == set()
    assert "agent.services" in modules


@contextlib.contextmanager
def another_check(volume: Volume) -> Iterator[None]:
    """Another heavy command runs on the volume."""
    folder = os.open(f"{volume.directory}/agent", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(folder)


def test_one_check_waits_for_another(tmp_path: Path, volume: Volume) -> None:
    """It says so, and goes on by itself."""
    source = tmp_path / "source"
    source.write_text("SENTRY_SAMPLE_RATE=1.0\n")
    environ = {
        "PATH": os.environ["PATH"],
        "RESENTRY_DIR": str(volume.directory),
        "RESENTRY_SOURCE_PATH": str(source),
        "RESENTRY_HTTP_LISTEN": "off",
    }
    errors = tmp_path / "errors"
    with errors.open("w") as stderr:
        with another_check(volume):
            check = subprocess.Popen(
                [sys.executable, "-m", "agent", "check"],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            eventually(lambda: "waiting for" in errors.read_text(), what="the message")
            assert check.poll() is None
        out, _ = check.communicate(timeout=60)
    assert b"targets" in out


def test_an_answer_that_cannot_be_written_is_no_success(
    command: Any, volume: Volume
) -> None:
    """The reason is told, without a traceback."""
    for args in (["history"], ["history", "--json"], ["status", "--help"], ["--help"]):
        with Path("/dev/full").open("w") as full:
            ran = subprocess.run(
                [sys.executable, "-m", "agent", *args],
                env={"PATH": os.environ["PATH"], "RESENTRY_DIR": str(volume.directory)},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert ran.returncode == os.EX_IOERR
        assert ran.stderr == (
            "resentry-agent: cannot write the answer: No space left on device\n"
        )
    assert command("history").returncode == 0


def test_a_reader_that_has_seen_enough_gets_no_traceback(volume: Volume) -> None:
    """As in `resentry-agent status | head -0`."""
    for args in (["status"], ["run", "--help"]):
        reader, writer = os.pipe()
        os.close(reader)
        ran = subprocess.run(
            [sys.executable, "-m", "agent", *args],
            env={"PATH": os.environ["PATH"], "RESENTRY_DIR": str(volume.directory)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writer)
        assert (ran.returncode, ran.stderr) == (141, "")


def test_closed_standard_files_end_no_command(volume: Volume) -> None:
    """As some cron and some container start a process."""
    ran = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m agent history >&- 2>&-"],
        env={"PATH": os.environ["PATH"], "RESENTRY_DIR": str(volume.directory)},
        check=False,
    )
    assert ran.returncode == 0
