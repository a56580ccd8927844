"""A whole scenario with every kind of secret planted: none is in anything that is shown."""

from __future__ import annotations

import json
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.paths import PLANTED
from lab.process import eventually, free_port
from lab.sink import Sink, key_of
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vault, pytest.mark.timeout(300)]

GIVEN = json.loads(PLANTED.read_bytes())
EVENT = {name: GIVEN[name] for name in ("event", "transaction", "log")}
NEEDLES = {secret["id"]: secret["needle"] for secret in GIVEN["secrets"]}
AGENT = Path(__file__).parent / "programs" / "buggy_agent.py"
TARGET = "import time, resentry; resentry.init(role='api'); time.sleep(600)"
JWT = EVENT["event"]["exception"]["values"][0]["stacktrace"]["frames"][0]["vars"][
    "auth"
]
WITH_A_FORM = [
    NEEDLES["s06"],
    JWT.strip("'"),
    EVENT["event"]["extra"]["sentry"],
    EVENT["event"]["extra"]["pem"],
]
"""The secrets that are known by their form, wherever they stand."""
ALL = json.dumps(EVENT)
DSN = "https://{}@sentry.example.org/42"


class Keeping(Sink):
    """A sink that keeps all that has arrived, as text."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[tuple[int, str]] = []

    def book(self, project: int, key: str, body: bytes) -> str:
        self.bodies.append((project, body.decode()))
        return super().book(project, key, body)


class Scenario:
    """The system, and everything that it has shown."""

    def __init__(self, system: System, sink: Keeping) -> None:
        self.system, self.sink = system, sink
        self.shown: dict[str, str] = {}
        self.bug = system.folder / "bug"

    def write(self, **fields: object) -> None:
        """Write a good secret with these fields. Keys that are not ours hold secrets."""
        own = {"agent": {"SENTRY_DSN": self.sink.dsn(9)}}
        theirs = {f"APP_{id_}": needle for id_, needle in NEEDLES.items()}
        good = {"SENTRY_DSN": self.sink.dsn(1), "RESENTRY_ROLES": own}
        self.system.write(**{**theirs, "APP_ALL": ALL, **good, **fields})

    def ask(self, *command: str, code: int | None = None) -> str:
        """Run a command; keep what it prints."""
        ended, printed = self.system.run("resentry-agent", *command)
        self.shown[" ".join(command)[:40] + f" #{len(self.shown)}"] = printed
        assert code is None or ended == code, printed
        return printed

    def refuse(self, **fields: object) -> None:
        """Have the agent refuse a candidate."""
        self.write(**fields)
        self.ask("refresh", code=65)

    def look(self) -> None:
        """Keep all pages and documents."""
        for path in ("/", "/status", "/findings", "/metrics", "/readyz", "/livez"):
            self.shown[f"{path} #{len(self.shown)}"] = self.system.get(path).text
        for command in ("status", "history", "check", "doctor"):
            self.ask(command)
            self.ask(command, "--json")

    def passes(self) -> int:
        lines = self.system.get("/metrics").text.splitlines()
        counts = [line for line in lines if line.startswith("resentry_passes_total")]
        return int(sum(float(line.split()[-1]) for line in counts))


@pytest.fixture
def scenario() -> Iterator[Scenario]:
    hook = f"http://127.0.0.1:{free_port()}/hook/{NEEDLES['s24']}"
    environ = {
        "ENVIRONMENT": "staging",
        "RESENTRY_DSN_CHECK_SECONDS": "5",
        "RESENTRY_REPORT_ERRORS": "true",
        "RESENTRY_CRON_MONITOR": "resentry-agent",
        "RESENTRY_NOTIFY_URLS": hook,
        "RESENTRY_NOTIFY_HEADERS": f"Authorization: Bearer {NEEDLES['s04']}",
    }
    with Keeping() as sink, System() as system:
        policy = 'path "secret/*" { capabilities = ["read", "list"] }'
        token = system.vault.policy_token(policy)
        system.environ |= environ | {"RESENTRY_VAULT_TOKEN": token}
        scenario = Scenario(system, sink)
        scenario.write()
        ready = system.http_port
        system.agent = system.spawn(
            *(sys.executable, str(AGENT), "run"),
            ready=ready,
            environ={"BUG": str(scenario.bug)},
        )
        system.spawn("python", "-c", TARGET)
        system.converge(1, 1)
        yield scenario


def events(log: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.splitlines() if line.startswith("{")]


def checks_levels(scenario: Scenario) -> None:
    """A command changes the level; then each pass is one event with all that matters."""
    assert scenario.system.agent is not None
    assert "debug" in scenario.ask("log-level", "debug", code=0)
    before = scenario.passes()
    eventually(lambda: scenario.passes() >= before + 3, 30, "three passes")
    seen = scenario.passes() - before
    log = scenario.system.agent.log_text

    def told(*levels: str) -> list[dict[str, Any]]:
        passes = [line for line in events(log()) if {"outcome", "seconds"} <= {*line}]
        return [line for line in passes if line["level"] in levels or not levels]

    at_debug = eventually(
        lambda: (lines := told("debug"))[seen - 2 :] and lines, what="their lines"
    )
    assert len(at_debug) <= scenario.passes() - before + 2
    for line in told():
        assert line["event"]
        assert line["revision"]
        assert line["sequence"] == 1


def refuse_each(scenario: Scenario) -> None:
    """Write each secret to a place where a value is refused, and ask for it by name."""
    rate = "SENTRY_TRACES_SAMPLE_RATE"
    roles = {f"r{number}": {rate: x} for number, x in enumerate(NEEDLES.values())}
    scenario.refuse(RESENTRY_ROLES=dict(list(roles.items())[:31]))
    scenario.refuse(RESENTRY_ROLES=dict(list(roles.items())[31:]))
    rules = [{"match": "GET /x", "traces": needle} for needle in NEEDLES.values()]
    scenario.refuse(RESENTRY_RULES=rules)
    scenario.refuse(RESENTRY_RULES=ALL)
    scenario.refuse(RESENTRY_BOOSTS=[{"id": "b", "traces": 1, "until": ALL}])
    scenario.refuse(**{rate: ALL})
    scenario.refuse(SENTRY_DSN=DSN.format(NEEDLES["s10"]) + "/" + NEEDLES["s24"])
    scenario.look()
    for secret in WITH_A_FORM:
        scenario.refuse(SENTRY_ENVIRONMENT=secret)
        scenario.refuse(SENTRY_RELEASE=secret)
        scenario.refuse(**{f"SENTRY_{secret}": "x"})
        scenario.ask("rollback", secret)
        scenario.ask("boost", "--end", secret)
        scenario.ask("boost", "--traces", secret, "--for", "15m")
        scenario.ask("boost", "--traces", "1", "--for", "15m", "--role", secret)
        scenario.ask("boost", "--traces", "1", "--for", "15m", "--match", secret)
        scenario.ask("verify", "--role", secret, "--json")
    scenario.write()
    scenario.ask("refresh", code=0)


def fail_with_each(scenario: Scenario) -> None:
    """Let a bug quote each secret: the traceback is logged, and is an event."""
    bodies = scenario.sink.bodies
    scenario.bug.write_text(ALL)
    eventually(
        lambda: [body for _, body in bodies if "RuntimeError" in body],
        30,
        "an event of the agent's own",
    )
    scenario.ask("refresh")
    scenario.look()
    scenario.bug.unlink()
    scenario.ask("refresh", code=0)
    scenario.system.vault.seal()
    eventually(lambda: "sealed" in scenario.ask("status"), 30, "an outage in status")
    scenario.look()


def test_no_secret_is_shown_anywhere(scenario: Scenario, tmp_path: Path) -> None:
    """Not in log (at debug), metrics, pages, bundle, commands, exceptions or own events."""
    system, sink = scenario.system, scenario.sink
    assert system.agent is not None
    checks_levels(scenario)
    refuse_each(scenario)
    fail_with_each(scenario)
    bundle = tmp_path / "bundle.tar.gz"
    scenario.ask("doctor", "--bundle", str(bundle))
    with tarfile.open(bundle) as archive:
        for member in archive.getmembers():
            if file := archive.extractfile(member):
                scenario.shown[f"bundle {member.name}"] = file.read().decode()
    state = system.directory / "agent" / "state.json"
    scenario.shown["state.json"] = state.read_text()
    scenario.shown["log"] = log = system.agent.log_text()
    own = [body for project, body in sink.bodies if project == 9]
    scenario.shown["own events"] = "\n".join(own)

    assert "Traceback" in log
    assert '"level": "debug"' in log
    checks_own_events(own, system.environ["HOME"])
    secrets = {
        **NEEDLES,
        "the agent's token": system.environ["RESENTRY_VAULT_TOKEN"],
        "the key of the DSN": key_of(1),
        "the key of the agent's own DSN": key_of(9),
        "a whole JWT": JWT.strip("'"),
    }
    found = [
        (place, name, text[max(0, text.index(secret) - 60) :][:150])
        for place, text in scenario.shown.items()
        for name, secret in secrets.items()
        # An envelope must name its own public key.
        if secret in text and (place, secret) != ("own events", key_of(9))
    ]
    assert found == [], "\n".join(map(str, found))


def checks_own_events(bodies: list[str], home: str) -> None:
    """The agent's own events: its release and role's DSN, no locals, no breadcrumbs."""
    whole = "\n".join(bodies)
    assert '"check_in"' in whole
    assert '"monitor_slug":"resentry-agent"' in whole.replace(": ", ":")
    raised = [
        json.loads(line)
        for body in bodies
        for line in body.splitlines()
        if "RuntimeError" in line
    ]
    assert raised
    for event in raised:
        assert event["release"].startswith("resentry-agent@")
        assert not event.get("breadcrumbs", {}).get("values")
        frames = event["exception"]["values"][0]["stacktrace"]["frames"]
        assert frames
        assert not any("vars" in frame for frame in frames)
        assert "user" not in event
        assert "request" not in event
    assert home not in whole
