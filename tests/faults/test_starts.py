"""Once the volume holds a snapshot, `run` starts whatever is wrong, and does not end.

In Kubernetes an agent that ends takes its healthy pod out of the Service.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.mount import Mount
from lab.process import Process, eventually, free_port, listens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.process

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/1"


class Agent:
    """The command `run` beside a mounted source, started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.volume = folder / "volume"
        self.mount = Mount(folder / "source")
        self.mount.write(SENTRY_DSN=DSN)
        self.http, self.probes = free_port(), free_port()
        self.environ = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_SOURCE_PATH": str(folder / "source"),
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_START_JITTER_SECONDS": "0",
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.http}",
            "RESENTRY_PROBES_LISTEN": f"127.0.0.1:{self.probes}",
            "RESENTRY_DSN_CHECK": "off",
        }

    def process(
        self, ready: Callable[[], bool] | None = None, **environ: str
    ) -> Process:
        command = [sys.executable, "-m", "agent", "run"]
        return Process(command, env=self.environ | environ, ready=ready)

    def once(self) -> None:
        """Publish the first snapshot."""
        command = [sys.executable, "-m", "agent", "once"]
        subprocess.run(command, env=self.environ, check=True, capture_output=True)

    def run(self, *command: str) -> int:
        """Run a command, and return its exit code."""
        ran = subprocess.run(
            [sys.executable, "-m", "agent", *command],
            env=self.environ,
            capture_output=True,
            check=False,
        )
        return ran.returncode

    def status(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "agent", "status", "--json"]
        ran = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=False
        )
        document: dict[str, Any] = json.loads(ran.stdout)["result"]
        return document

    def probe(self, path: str, port: int = 0) -> int:
        address = f"http://127.0.0.1:{port or self.probes}"
        try:
            answer = requests.get(f"{address}{path}", timeout=10)
        except requests.ConnectionError:
            return 0
        return answer.status_code

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.probes}/metrics", timeout=10).text


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


@pytest.fixture
def started(agent: Agent) -> Iterator[Callable[..., Process]]:
    """Start `run` on a volume that holds a snapshot; it must come up."""
    agent.once()
    with ExitStack() as stack:

        def start(**environ: str) -> Process:
            process = stack.enter_context(agent.process(**environ))
            eventually(lambda: agent.probe("/startupz") == 200, what="/startupz is 200")
            eventually(lambda: agent.probe("/livez") == 200, what="/livez is 200")
            return process

        yield start


def ended(agent: Agent, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `run` without a snapshot on the volume: it must end at once."""
    return subprocess.run(
        [sys.executable, "-m", "agent", "run"],
        env=agent.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def taken(agent: Agent) -> socket.socket:
    return socket.create_server(("127.0.0.1", agent.http))


WRONG = [
    ("RESENTRY_CONFIRM_SECONDS", {"RESENTRY_CONFIRM_SECONDS": "soon"}),
    ("RESENTRY_ALLOWED_DSNS", {"RESENTRY_ALLOWED_DSNS": "production"}),
    ("/nowhere/agent.toml", {"RESENTRY_CONFIG": "/nowhere/agent.toml"}),
    ("RESENTRY_GROUP", {"RESENTRY_GROUP": "no-such-group"}),
    ("RESENTRY_SOURCE_PATH", {"RESENTRY_VAULT_ADDR": "http://127.0.0.1:9"}),
    (
        "RESENTRY_VAULT_TOKEN",
        {
            "RESENTRY_SOURCE_PATH": "",
            "RESENTRY_VAULT_ADDR": "http://127.0.0.1:9",
            "RESENTRY_VAULT_PATHS": "secret/data/lms",
        },
    ),
]


@pytest.mark.parametrize(("said", "environ"), WRONG, ids=[row[0] for row in WRONG])
def test_wrong_settings_end_a_first_start_and_no_later_one(
    agent: Agent,
    started: Callable[..., Process],
    said: str,
    environ: dict[str, str],
) -> None:
    """The later start serves the snapshot and says what is wrong, in log, status, metric."""
    shutil.move(agent.volume, agent.volume.with_name("kept"))
    first = ended(agent, **environ)
    assert first.returncode == 78, first.stderr
    assert not agent.volume.exists()
    shutil.move(agent.volume.with_name("kept"), agent.volume)

    process = started(**environ)

    source = eventually(lambda: (now := agent.status()["source"])["error"] and now)
    assert (source["outcome"], source["error"]) == ("failed", "SettingsError")
    line = source["sentence"].partition(";")[0]
    eventually(
        lambda: line in process.log_text().replace("\\", ""), what="its line of the log"
    )
    assert 'error="SettingsError"' in agent.metrics()
    assert said in source["sentence"]
    assert "restart the agent after a change of a setting" in source["hint"]
    assert (agent.volume / "SENTRY_DSN").read_text() == DSN
    assert process.stop() == 0


def test_a_sighup_that_comes_early_does_not_end_the_agent(
    agent: Agent,
) -> None:
    """Whoever rotates a secret may signal an agent that has just been started.

    Only Python's own start can be ended so. The first pass reads the source anyway.
    """
    agent.once()
    agent.mount.write(SENTRY_DSN=f"{DSN}2")
    with agent.process() as process:
        status = Path(f"/proc/{process.pid}/status")

        def survives() -> bool:
            lines = status.read_text().splitlines()
            masks = dict(line.split(":", 1) for line in lines)
            return bool((int(masks["SigIgn"], 16) | int(masks["SigCgt"], 16)) & 1)

        eventually(survives, what="a SIGHUP that does not end the process")

        def is_published() -> bool:
            process.signal(signal.SIGHUP)
            return (agent.volume / "SENTRY_DSN").read_text() == f"{DSN}2"

        eventually(is_published, what="the new value")
        assert process.alive


@pytest.mark.parametrize(
    ("command", "handler"), [("run", signal.SIG_IGN), ("wait", signal.SIG_DFL)]
)
def test_run_is_ready_for_sighup_before_it_imports_anything(
    command: str, handler: signal.Handlers
) -> None:
    """A closed terminal still ends the other commands."""
    code = f"""
import signal, sys, types
sys.argv = ["resentry-agent", {command!r}]
for name in ("agent.cli", "agent.start"):
    module = sys.modules[name] = types.ModuleType(name)
    module.main = lambda: print(signal.getsignal(signal.SIGHUP).name)
from agent.__main__ import main
main()
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == handler.name


@pytest.mark.parametrize(
    "command", [["rollback"], ["boost", "--traces", "1", "--for", "1m"]]
)
def test_an_operator_cannot_publish_past_rails_that_are_not_known(
    agent: Agent, started: Callable[..., Process], command: list[str]
) -> None:
    """With wrong settings the guard rails are not known, so each request is refused."""
    started(RESENTRY_ALLOWED_DSNS="production")
    eventually((agent.volume / "agent/control.sock").exists)
    ran = subprocess.run(
        [sys.executable, "-m", "agent", *command],
        env=agent.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 78, ran.stderr
    assert "RESENTRY_ALLOWED_DSNS" in ran.stderr


def test_a_taken_address_ends_a_first_start_before_the_volume_exists(
    agent: Agent,
) -> None:
    """The error names the address."""
    with taken(agent):
        first = ended(agent)
    assert first.returncode == 78
    assert f"cannot listen at 127.0.0.1:{agent.http}" in first.stderr
    assert not agent.volume.exists()


def test_a_taken_address_is_tried_again_until_it_is_free(
    agent: Agent, started: Callable[..., Process]
) -> None:
    """Meanwhile all else works; status, log and metric name the setting."""
    with taken(agent):
        process = started()
        (problem,) = eventually(lambda: agent.status()["problems"])
        assert problem["setting"] == "RESENTRY_HTTP_LISTEN"
        assert f"cannot listen at 127.0.0.1:{agent.http}" in problem["what"]
        assert 'resentry_problem{setting="RESENTRY_HTTP_LISTEN"} 1.0' in agent.metrics()
        eventually(lambda: problem["what"] in process.log_text(), what="its line")
        command = [sys.executable, "-m", "agent", "check"]
        checked = subprocess.run(
            command, env=agent.environ, capture_output=True, text=True, check=False
        )
        assert checked.returncode == 78
        assert problem["what"] in checked.stdout
    eventually(lambda: listens(agent.http), what="the address is served")
    eventually(lambda: agent.status()["problems"] == [], what="no problem")
    assert "resentry_problem{" not in agent.metrics()
    eventually(lambda: "a problem is over" in process.log_text(), what="its last line")


CONTROL = {
    "too long": lambda folder: f"{folder}/{'x' * 110}",
    "a file": lambda folder: f"{folder}/file",
    "in a file": lambda folder: f"{folder}/file/socket",
    "open to all": lambda folder: f"{folder}/open/socket",
}


@pytest.mark.parametrize("path", CONTROL.values(), ids=CONTROL)
def test_a_control_path_that_cannot_be_used_is_no_reason_to_end(
    agent: Agent, started: Callable[..., Process], path: Any
) -> None:
    """A first start ends before the volume exists; nothing is removed."""
    (agent.folder / "file").write_text("precious")
    (agent.folder / "open").mkdir()
    (agent.folder / "open").chmod(0o777)
    control = path(agent.folder)
    shutil.move(agent.volume, agent.volume.with_name("kept"))
    first = ended(agent, RESENTRY_CONTROL=control)
    assert first.returncode == 78, first.stderr
    assert f"cannot open the control socket {control}" in first.stderr
    assert not agent.volume.exists()
    shutil.move(agent.volume.with_name("kept"), agent.volume)

    started(RESENTRY_CONTROL=control)

    (problem,) = eventually(lambda: agent.status()["problems"])
    assert problem["setting"] == "RESENTRY_CONTROL"
    assert (agent.folder / "file").read_text() == "precious"


def test_an_agent_waits_for_the_lock_of_another_one(
    agent: Agent, started: Callable[..., Process]
) -> None:
    """It says so, touches nothing meanwhile, and goes on from what the other published."""
    other = started()
    mine = {
        "RESENTRY_HTTP_LISTEN": "off",
        "RESENTRY_PROBES_LISTEN": f"127.0.0.1:{(probes := free_port())}",
    }
    with agent.process(lambda: listens(probes), **mine) as waiting:
        eventually(
            lambda: "another agent has the volume" in waiting.log.read_text(),
            what="the waiting agent says so",
        )
        eventually(lambda: agent.probe("/livez", probes) == 200, what="its services")
        assert agent.status()["source"]["error"] == ""  # the other agent's own state
        assert agent.run("refresh") == 0  # the agent that has the volume answers
        agent.mount.write(SENTRY_DSN=DSN, SENTRY_RELEASE="2")
        eventually((agent.volume / "SENTRY_RELEASE").exists)
        other.stop()
        agent.mount.write(SENTRY_DSN=DSN, SENTRY_RELEASE="3")
        eventually(lambda: (agent.volume / "SENTRY_RELEASE").read_text() == "3")
        eventually(lambda: agent.run("refresh") == 0, what="now this one answers")
        assert (
            json.loads((agent.volume / "settings.json").read_bytes())["sequence"] == 3
        )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_volume_that_is_lost_and_comes_back_is_gone_on_with(
    agent: Agent, started: Callable[..., Process]
) -> None:
    """A read-only volume at a start, and one that turns read-only, end nothing."""
    mount = ["mount", "--bind", str(agent.volume), str(agent.volume)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        remount = ["mount", "-o", "remount,bind"]
        subprocess.run([*remount, "-o", "ro", agent.volume], check=True)
        process = started()
        eventually(lambda: "Read-only file system" in process.log.read_text())
        eventually(lambda: 'error="PublishError"' in agent.metrics())
        subprocess.run([*remount, "-o", "rw", agent.volume], check=True)
        agent.mount.write(SENTRY_DSN=DSN, SENTRY_RELEASE="2")
        eventually((agent.volume / "SENTRY_RELEASE").exists)
    finally:
        subprocess.run(["umount", "-l", agent.volume], check=True)


def test_the_control_socket_is_opened_again_when_it_is_gone(
    agent: Agent, started: Callable[..., Process]
) -> None:
    """With its directory, or alone; commands reach the agent again."""
    process = started()
    socket_file = agent.volume / "agent/control.sock"
    for vandal in (socket_file.unlink, lambda: shutil.rmtree(agent.volume / "agent")):
        eventually(socket_file.is_socket, what="the control socket")
        vandal()
        eventually(socket_file.is_socket, what="the control socket again")
        ran = subprocess.run(
            [sys.executable, "-m", "agent", "refresh"], env=agent.environ, check=False
        )
        assert ran.returncode == 0
    eventually(lambda: "control socket" in process.log_text(), what="the warning")
