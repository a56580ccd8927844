"""docs/contract.md, "What an operator asks for" to "HTTP": an agent that runs.

Its source is a mounted directory, so no Vault is needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from lab.mount import Mount
from lab.process import Process, eventually, free_port, listens
from lab.receiver import Receiver
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.process

WITHIN = 60.0


class Agent:
    """An agent beside a mounted source; it says what it has published."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "source"
        self.mount = Mount(self.source)
        self.volume = folder / "volume"
        self.http, self.probes = free_port(), free_port()
        self.environ = {
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(self.volume),
            "RESENTRY_SOURCE_PATH": str(self.source),
            "RESENTRY_POLL_SECONDS": "1",
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.http}",
            "RESENTRY_PROBES_LISTEN": f"127.0.0.1:{self.probes}",
            "RESENTRY_DSN_CHECK": "off",
        }

    def start(self, **environ: str) -> Process:
        self.environ |= environ
        return Process(
            [sys.executable, "-m", "agent", "run"],
            env=self.environ,
            ready=lambda: listens(self.http),
            within=WITHIN,
        )

    def ask(self, *command: str) -> tuple[int, dict[str, Any]]:
        """Run a command with `--json`; return its exit code and what it printed."""
        ran = subprocess.run(
            [sys.executable, "-m", "agent", *command, "--json"],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, json.loads(ran.stdout)

    def snapshot(self) -> dict[str, Any]:
        """Return the published snapshot, {} without one."""
        path = self.volume / "settings.json"
        if not path.exists():
            return {}
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def published(self, sequence: int) -> dict[str, Any]:
        """Wait for that snapshot."""
        return eventually(
            lambda: (now := self.snapshot()).get("sequence") == sequence and now,
            WITHIN,
            f"sequence {sequence}",
        )

    def get(self, path: str, port: int | None = None) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{port or self.http}{path}", timeout=30)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


@pytest.fixture
def start(agent: Agent) -> Iterator[Callable[..., Process]]:
    """Start the agent, with more settings."""
    with ExitStack() as stack:
        yield lambda **environ: stack.enter_context(agent.start(**environ))


def test_a_rollback_is_held_across_a_restart_until_it_is_resumed(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """It republishes an earlier snapshot, and is marked as the operator's."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    first = start()
    agent.published(1)
    agent.mount.write(SENTRY_DSN=sink.dsn(2))
    agent.published(2)

    assert agent.ask("rollback")[0] == 0
    back = agent.published(3)
    assert back["settings"]["SENTRY_DSN"] == sink.dsn(1)
    assert back["provenance"]["SENTRY_DSN"]["source"] == "operator"

    first.stop()
    start()
    assert agent.snapshot()["settings"]["SENTRY_DSN"] == sink.dsn(1)
    assert agent.ask("rollback", "--resume")[0] == 0
    assert agent.published(4)["settings"]["SENTRY_DSN"] == sink.dsn(2)


def test_a_boost_ends_by_itself_and_its_end_is_a_new_revision(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """Nobody has to take it back, and no pass is needed for it."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    start(RESENTRY_POLL_SECONDS="3600")
    before = agent.published(1)
    assert agent.ask("boost", "--traces", "1", "--for", "2s")[0] == 0
    during = agent.published(2)
    assert [boost["traces"] for boost in during["boosts"]] == [1.0]
    after = agent.published(3)
    assert after["boosts"] == []
    assert after["revision"] == before["revision"] != during["revision"]


def test_only_the_agents_user_reaches_its_socket(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """The socket is private, in a directory that is private."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    start()
    agent.published(1)
    path = agent.volume / "agent" / "control.sock"
    eventually(path.is_socket, WITHIN, "the socket")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_receiver_hears_of_each_snapshot_and_again_until_it_answers(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """A POST without data names the snapshot; the sequence tells a repetition."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    with Receiver(503) as receiver:
        start(
            RESENTRY_NOTIFY_URLS=receiver.url,
            RESENTRY_NOTIFY_HEADERS="Authorization: Bearer planted",
        )
        revision = agent.published(1)["revision"]
        eventually(lambda: len(receiver.requests) >= 2, WITHIN, "a repetition")
        receiver.how = 200
        seen = len(receiver.requests)
        eventually(lambda: len(receiver.requests) > seen, WITHIN, "the last one")
        for post in list(receiver.requests):
            assert (post.start[0], post.body) == ("POST", b"")
            assert post.header("Content-Length") == "0"
            assert post.header("Resentry-Revision") == revision
            assert post.header("Resentry-Sequence") == "1"
            assert post.header("User-Agent").startswith("resentry-agent/")
            assert post.header("Authorization") == "Bearer planted"


def test_only_the_newest_snapshot_is_delivered(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """A receiver that was away misses those between."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    with Receiver(503) as receiver:
        start(RESENTRY_NOTIFY_URLS=receiver.url)
        agent.published(1)
        eventually(lambda: receiver.requests, WITHIN, "the first try")
        for number in (2, 3):
            agent.mount.write(SENTRY_DSN=sink.dsn(number))
            newest = agent.published(number)["revision"]
        eventually(lambda: receiver.revisions[-1] == newest, WITHIN, "its first try")
        seen = len(receiver.revisions)
        receiver.how = 200
        eventually(lambda: len(receiver.revisions) > seen, WITHIN, "the last one")
        assert set(receiver.revisions[seen:]) == {newest}


@pytest.mark.parametrize(
    ("mode", "answer", "verdict", "is_published"),
    [
        ("enforce", 200, "accepted", True),
        ("enforce", 403, "rejected", False),
        ("enforce", 401, "config_error", False),
        ("enforce", 429, "limited", True),
        ("warn", 403, "rejected", True),
        ("warn", 401, "config_error", True),
    ],
)
def test_a_dsn_is_published_by_its_verdict(  # noqa: PLR0913 - a row of the table
    agent: Agent,
    sink: Sink,
    start: Callable[..., Process],
    mode: str,
    answer: int,
    verdict: str,
    *,
    is_published: bool,
) -> None:
    """The table of the page, without an event, an issue or any quota."""
    sink.answer(1, "ok" if answer == 200 else answer)
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    start(RESENTRY_DSN_CHECK=mode, RESENTRY_DSN_CHECK_SECONDS="5")

    def verdicts() -> str:
        return json.dumps(agent.get("/status").json().get("result") or {})

    eventually(lambda: f'"{verdict}"' in verdicts(), WITHIN, verdict)
    if is_published:
        agent.published(1)
    else:
        assert agent.snapshot() == {}
    assert sink.count("event") == 0


def test_two_addresses_serve_what_is_documented(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """The address of the probes has no status; neither can be written to."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    start()
    agent.published(1)
    for path in ("/livez", "/readyz", "/startupz", "/metrics"):
        for port in (agent.http, agent.probes):
            eventually(
                lambda path=path, port=port: agent.get(path, port).ok, WITHIN, path
            )
    assert agent.get("/status").ok
    assert agent.get("/status", agent.probes).status_code == 404
    url = f"http://127.0.0.1:{agent.http}/status"
    assert requests.post(url, timeout=30).status_code in {404, 405}


def test_without_a_snapshot_only_livez_is_good(
    agent: Agent, start: Callable[..., Process]
) -> None:
    """Passes come to an end; a load balancer sends nothing yet."""
    agent.mount.write(SENTRY_SAMPLE_RATE="2")  # is refused
    start(RESENTRY_STARTUP_SECONDS="3600")
    eventually(lambda: agent.get("/livez").ok, WITHIN, "the first pass")
    assert agent.get("/readyz").status_code == 503
    assert agent.get("/startupz").status_code == 503


def test_startupz_is_good_after_its_time(
    agent: Agent, start: Callable[..., Process]
) -> None:
    """A source that is away does not keep the pod from starting for ever."""
    agent.mount.write(SENTRY_SAMPLE_RATE="2")  # is refused
    start(RESENTRY_STARTUP_SECONDS="1")
    eventually(lambda: agent.get("/startupz").ok, WITHIN, "the time")
    assert agent.snapshot() == {}


def test_nothing_listens_elsewhere(
    agent: Agent, sink: Sink, start: Callable[..., Process]
) -> None:
    """No request over TCP changes anything: there is no third address."""
    agent.mount.write(SENTRY_DSN=sink.dsn(1))
    process = start()
    agent.published(1)
    eventually(lambda: listens(agent.probes), WITHIN, "the probes")
    assert set(_ports(process.pid)) == {agent.http, agent.probes}


def _ports(pid: int) -> Iterator[int]:
    """Yield the TCP ports at which a process listens."""
    links = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _, address, _, state, *_, inode = line.split()[:10]
        if state == "0A" and f"socket:[{inode}]" in links:
            yield int(address.partition(":")[2], 16)
