"""What `--json` and `/status` really print, held to the schemas in the package."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from jsonschema import Draft202012Validator, ValidationError

from agent.cli import COMMANDS, WITHOUT_JSON
from lab.process import Process, eventually, free_port, listens

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process

APPLICATION = """
import time, resentry
resentry.init(role="api")
print("ready", flush=True)
time.sleep(600)
"""


def valid(document: dict[str, Any], command: str | None = None) -> None:
    """Hold a document to the schema of its command."""
    name = (command or document["command"]).replace(" ", "-")
    schema = json.loads((files("agent") / "schemas" / f"{name}.json").read_text())
    Draft202012Validator(schema).validate(document)


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


class Place:
    """A volume, a mounted source, and commands that see no other settings."""

    def __init__(self, folder: Path) -> None:
        self.source, self.port = folder / "source", free_port()
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RESENTRY_DIR": str(folder / "volume"),
            "RESENTRY_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "RESENTRY_SOURCE_PATH": str(self.source),
            "RESENTRY_DSN_CHECK": "off",
            "ENVIRONMENT": "staging",
        }

    def publish(self, release: str) -> None:
        """Have the source hold this release."""
        new = self.source.with_suffix(".new")
        new.write_text(
            "SENTRY_DSN=https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/1\n"
            f"SENTRY_RELEASE={release}\n"
        )
        new.rename(self.source)

    def run(self, *args: str, **environ: str) -> tuple[int, dict[str, Any]]:
        """Run a command with `--json`, and hold what it prints to its schema."""
        ran = subprocess.run(
            ["resentry-agent", *args, "--json"],
            env=self.environ | environ,
            capture_output=True,
            text=True,
            check=False,
        )
        document: dict[str, Any] = json.loads(ran.stdout)
        valid(document)
        assert document["ok"] is (ran.returncode == 0), document
        assert (document["error"] is None) is document["ok"]
        return ran.returncode, document


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def running(place: Place) -> Iterator[Place]:
    """An agent that has published, and one application that has confirmed."""
    place.publish("1")
    with (
        Process(
            ["resentry-agent", "run"],
            env=place.environ,
            ready=lambda: listens(place.port),
        ),
        Process([sys.executable, "-c", APPLICATION], env=place.environ) as application,
    ):
        eventually(lambda: "ready" in application.log_text(), what="the application")
        yield place


def test_every_command_prints_what_its_schema_says(running: Place) -> None:
    """Where all goes well, and `/status` is the same document."""
    place = running
    assert place.run("wait", "--drained", "--timeout", "20")[0] == 0
    place.publish("2")
    code, document = place.run("refresh")
    assert (code, document["result"]["sequence"]) == (0, 2)
    code, document = place.run("rollback")
    assert (code, document["result"]["outcome"]) == (0, "published")
    assert place.run("rollback", "--resume")[0] == 0
    code, document = place.run("boost", "--traces", "1", "--for", "15m")
    (boost,) = document["result"]["boosts"]
    assert document["result"]["done"]["outcome"] == "published"
    assert place.run("boost", "--list")[1]["result"] == {
        "boosts": [{**boost, "left_seconds": pytest.approx(900, abs=60)}],
        "ceilings": [],
        "done": None,
    }
    assert place.run("wait", "--timeout", "20")[0] == 0
    code, printed = place.run("status")
    answered = requests.get(f"http://127.0.0.1:{place.port}/status", timeout=10).json()
    valid(answered)
    for document in (printed, answered):
        for row in document["result"]["current"]["boosts"]:
            del row["left_seconds"]
        del document["result"]["origin"]["at"]
    assert (code, printed) == (0, answered)
    assert printed["result"]["rollout"]["targets"][0]["role"] == "api"
    code, document = place.run("explain", "GET /pay")
    (explained,) = document["result"]["explained"]
    assert (explained["role"], explained["processes"]) == ("api", 1)
    assert (code, explained["decided_by"], explained["rate"]) == (0, "boost", 1.0)
    assert place.run("validate", str(place.source))[0] == 0
    assert place.run("boost", "--end", boost["id"])[0] == 0
    # A boost, and its end, are no history.
    assert len(place.run("history")[1]["result"]["history"]) == 4
    assert place.run("check")[0] == 0


def test_an_answer_of_no_is_an_error_with_a_result(running: Place) -> None:
    """Exit code 1: what was examined is there, and the error says what is missing."""
    place = running
    assert place.run("wait", "--timeout", "20")[0] == 0
    few = {"RESENTRY_MIN_TARGETS": "api=5"}
    code, document = place.run("status", **few)
    assert (code, document["error"]["code"]) == (1, "NotConfirmed")
    assert len(document["result"]["rollout"]["targets"]) == 1
    code, document = place.run("wait", "--sequence", "9", "--timeout", "0")
    assert (code, document["error"]["code"]) == (1, "Timeout")
    (lacking,) = document["result"]["lacking"]
    assert document["error"]["what"] == f"the time limit of 0 s is over: {lacking}"
    code, document = place.run("rollback")
    assert (code, document["error"]["code"]) == (1, "WishRefused")
    assert document["error"]["hint"]


def test_a_pass_that_fails_keeps_its_result(running: Place) -> None:
    """`refresh` of a source that may not be published."""
    place = running
    eventually(lambda: place.run("status")[1]["result"]["current"], what="a snapshot")
    place.source.write_text("SENTRY_DSN=nonsense\n")
    code, document = place.run("refresh")
    assert (code, document["error"]["code"]) == (65, "CandidateRefused")
    assert document["result"]["outcome"] == "refused"
    assert document["error"]["what"] == document["result"]["sentence"]


def test_one_pass_without_a_daemon(place: Place) -> None:
    """`once` that publishes, and `once` that cannot."""
    code, document = place.run("once")
    assert (code, document["error"]["code"]) == (66, "SourceMissing")
    assert document["result"]["outcome"] == "failed"
    place.publish("1")
    code, document = place.run("once")
    assert (code, document["result"]["outcome"]) == (0, "published")
    assert place.run("history")[1]["result"]["history"][0]["sequence"] == 1


MISTAKES = {
    "settings": ([], {"RESENTRY_POLL_SECONDS": "soon"}, (78, "SettingsError")),
    "usage": (["--no-such-option"], {}, (2, "UsageError")),
}


ARGUMENTS = {
    f"alerts {verb}": ["rules.toml"] for verb in ("plan", "apply", "check")
} | {
    "validate": ["new.json"],
    "alerts notice deploy": ["--release", "1", "--in", "production"],
    "alerts notice maintenance": ["--in", "production", "--end"],
}


@pytest.mark.parametrize(
    ("command", "mistake"),
    [
        (command, mistake)
        for command in sorted({*COMMANDS} - {*WITHOUT_JSON})
        for mistake in MISTAKES
        if (command, mistake) not in (("doctor", "settings"), ("status", "settings"))
    ],
)
def test_a_mistake_is_an_envelope_without_a_result(
    place: Place, command: str, mistake: str
) -> None:
    """Nothing was examined, so there is no result; the command is named."""
    args, environ, expected = MISTAKES[mistake]
    words = (*command.split(), *ARGUMENTS.get(command, ()))
    code, document = place.run(*words, *args, **environ)
    assert (code, document["error"]["code"]) == expected
    assert (document["command"], document["result"]) == (command, None)


def test_the_status_is_told_beside_a_mistake(place: Place) -> None:
    """The agent goes on with it, too."""
    code, document = place.run("status", RESENTRY_POLL_SECONDS="soon")
    assert (code, document["error"]["code"]) == (78, "SettingsError")
    assert document["result"]["agent"] == "unknown"


def test_the_doctor_examines_what_a_mistake_leaves(place: Place) -> None:
    """Wrong settings are a finding, beside all others."""
    code, document = place.run("doctor", RESENTRY_POLL_SECONDS="soon")
    assert (code, document["error"]["code"]) == (1, "Findings")
    seen = {f["id"]: f["verdict"] for f in document["result"]["findings"]}
    assert (seen["RSN101"], seen["RSN201"], seen["RSN501"]) == (
        "problem",
        "skipped",
        "problem",
    )


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_command_that_a_signal_ends_prints_nothing(
    place: Place, number: str, code: int
) -> None:
    """Its exit code is not that of an answer."""
    place.publish("1")
    assert place.run("once")[0] == 0
    waiting = subprocess.Popen(
        ["resentry-agent", "wait", "--sequence", "99", "--timeout", "60", "--json"],
        env=place.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    eventually(lambda: catches(waiting.pid, signal.SIGTERM), what="its handler")
    for _ in range(2):  # impatient people press Ctrl-C twice
        waiting.send_signal(signal.Signals[number])
    printed, said = waiting.communicate(timeout=30)
    assert (waiting.returncode, printed) == (code, b"")
    assert b"Traceback" not in said


def test_an_argument_that_is_no_text_is_an_envelope_too(place: Place) -> None:
    """The byte stands there as an escape."""
    code, document = place.run("status", os.fsdecode(b"\xff"))
    assert (code, document["error"]["code"]) == (2, "UsageError")
    assert r"\udcff" in document["error"]["what"]


@pytest.mark.parametrize(
    "args", [["refresh"], ["rollback"], ["boost", "--end", "b1"]], ids=" ".join
)
def test_a_request_without_an_agent(place: Place, args: list[str]) -> None:
    """The error says that no agent answers, and what to do."""
    code, document = place.run(*args)
    assert (code, document["error"]["code"]) == (76, "AgentAway")
    assert document["error"]["hint"]


@pytest.mark.parametrize(
    "change",
    [
        {"ok": False},
        {"error": {"code": "AgentAway", "what": "", "hint": ""}},
        {"more": 1},
        {"result": {}},
        {"command": "status"},
        {"schema": 2},
    ],
    ids=str,
)
def test_a_schema_allows_nothing_else(place: Place, change: dict[str, Any]) -> None:
    """A field too many or too few, or an `ok` that lies, is found."""
    document = place.run("history")[1]
    with pytest.raises(ValidationError):
        valid(document | change, "history")
