"""`verify`: test items through each process's own client, with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from lab.bugsink import Bugsink
from lab.paths import REPOSITORY
from lab.process import Process, eventually, free_port, listens

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.sink import Sink

pytestmark = pytest.mark.process

APPLICATION = """
import sys, time
import resentry
resentry.init(
    role=sys.argv[1], default_integrations=False, auto_enabling_integrations=False,
    before_send=lambda *_: None, traces_sampler=lambda _: 0,
)
print("ready", flush=True)
time.sleep(600)
"""


class Place:
    """A volume, a mounted source, an agent, and applications."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.source, self.port = folder / "source", free_port()
        self.environ = {
            "PATH": f"{REPOSITORY}/.venv/bin:/usr/bin:/bin",
            "RESENTRY_DIR": str(folder / "volume"),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "RESENTRY_SOURCE_PATH": str(self.source),
            "RESENTRY_DSN_CHECK": "off",
            "ENVIRONMENT": "staging",
        }

    def start(self, **values: object) -> None:
        """Start the agent, which publishes these values."""
        lines = [f"{key}={value}\n" for key, value in values.items()]
        self.source.write_text("".join(lines))
        agent = ["resentry-agent", "run"]
        self.agent = self._stack.enter_context(
            Process(agent, env=self.environ, ready=lambda: listens(self.port))
        )

    def application(self, role: str, **environ: str) -> Process:
        """Start a process of that role."""
        process = Process(
            [sys.executable, "-c", APPLICATION, role], env=self.environ | environ
        )
        self._stack.enter_context(process)
        eventually(lambda: "ready" in process.log_text(), what="the application")
        return process

    def run(self, *args: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return subprocess.run(
            ["resentry-agent", *args],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )

    def verify(self, *args: str, **environ: str) -> tuple[int, dict[str, Any]]:
        """Run `verify --json`, and hold what it prints to its schema."""
        ran = self.run("verify", "--json", *args, **environ)
        document: dict[str, Any] = json.loads(ran.stdout)
        schema = json.loads((files("agent") / "schemas" / "verify.json").read_text())
        Draft202012Validator(schema).validate(document)
        assert document["ok"] is (ran.returncode == 0), document
        return ran.returncode, document


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_items_of_each_process_arrive_whatever_the_rates_say(
    place: Place, sink: Sink
) -> None:
    """A role that is off is no failure; what is forbidden, or refused, is told."""
    place.start(
        SENTRY_DSN=sink.dsn(1),
        SENTRY_RELEASE="1.0.0",
        SENTRY_SAMPLE_RATE=0,
        SENTRY_TRACES_SAMPLE_RATE=0,
        SENTRY_ENABLE_FOR_CELERY="false",
    )
    api = place.application("api")
    place.application("celery")
    assert place.run("wait", "--timeout", "30").returncode == 0

    code, dry = place.verify("--dry-run")
    assert (code, dry["result"]["nonce"]) == (0, None)
    assert not sink.events()

    ran = place.run("verify")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    head, *rows = (line.split("  ") for line in ran.stdout.splitlines())
    table = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [cell.strip() for cell in head if cell.strip()] == [
        *("role", "pid", "kind", "handed over", "accepted", "stored"),
        *("environment", "release", "ms"),
    ]
    pid = str(api.pid)
    sent = {row[2]: row for row in table if row[:2] == ["api", pid]}
    assert sent["error"][3:8] == ["yes", "yes", "-", "staging", "1.0.0"]
    assert float(sent["error"][8]) > 0
    assert sent.keys() == {"error", "message", "transaction", "log", "span"}
    assert "SENTRY_ENABLE_FOR_CELERY=false" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "2 processes: 1 passed, 1 off"
    assert f"api pid {pid}: 4 of 4 items accepted" in ran.stderr
    assert not (place.folder / "volume" / "verify.json").exists()

    arrived = [*sink.events(1), *sink.transactions(1)]
    (nonce,) = {event.tags["resentry.verify"] for event in arrived}
    assert (len(arrived), sink.count("log")) == (3, 1)
    assert {(event.environment, event.release) for event in arrived} == {
        ("staging", "1.0.0")
    }

    soon = place.run("verify")
    assert soon.returncode == 68
    assert "another verification has just ended" in soon.stderr

    sink.answer(1, 403)
    place.application("other", RESENTRY_VERIFY="off")

    def again() -> tuple[int, dict[str, Any]] | None:
        code, document = place.verify("--kind", "message", "--kind", "error")
        return None if document["error"]["code"] == "Busy" else (code, document)

    code, document = eventually(again, within=40, what="the next verification")
    assert (code, document["error"]["code"]) == (1, "NotVerified")
    assert document["error"]["what"].startswith(f"api pid {pid}, message: the server")
    assert document["result"]["nonce"] != nonce
    verdicts = {one["role"]: one["verdict"] for one in document["result"]["processes"]}
    assert verdicts == {"api": "failed", "celery": "off", "other": "unknown"}

    code, document = place.verify("--dry-run", RESENTRY_MIN_TARGETS="api=3,web=1")
    assert (code, document["error"]["code"]) == (3, "NotExamined")
    assert "2 api, 1 web" in document["result"]["unknown"]
    code, document = place.verify("--role", "web")
    assert (code, document["error"]["code"]) == (1, "NotVerified")
    place.agent.kill()
    code, document = place.verify()
    assert (code, document["error"]["code"]) == (76, "AgentAway")


def test_with_bugsink_each_item_is_read_back(place: Place) -> None:
    """Bugsink keeps no transactions and no logs, and `verify` says so."""
    with Bugsink() as bugsink:
        place.start(SENTRY_DSN=bugsink.project("lms"), SENTRY_RELEASE="2.0.0")
        place.application("api")
        assert place.run("wait", "--timeout", "30").returncode == 0
        code, document = place.verify("--stored")
        assert (code, document["error"]["code"]) == (78, "SettingsError")
        token = place.folder / "token"
        token.write_text(f"{bugsink.token}\n")
        environ = {
            "RESENTRY_VERIFY_API": bugsink.url,
            "RESENTRY_VERIFY_TOKEN_FILE": str(token),
        }
        ran = place.run("verify", "--stored", **environ)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "transaction: Bugsink keeps no transactions" in ran.stdout
        assert {event["release"] for event in bugsink.events("lms")} == {"2.0.0"}
        assert len(bugsink.events("lms")) == 2
        (row,) = [line for line in ran.stdout.splitlines() if " error " in line]
        assert row.split()[2:8] == ["error", "yes", "yes", "yes", "staging", "2.0.0"]
