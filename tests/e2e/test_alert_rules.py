"""`alerts plan`, `apply` and `check`, on the rules of the guide, as a person types them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from jsonschema import Draft202012Validator

from agent.alerts.plan import plan
from agent.alerts.rule_file import IssueRule, read
from agent.alerts.server import SUBJECT, Server
from agent.sentry_api.client import SentryApi as Client
from docs.documents import schemas
from lab.bugsink import Bugsink
from lab.paths import REPOSITORY
from lab.sentry_api import Fault, SentryApi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.server]

EXAMPLE = REPOSITORY / "examples" / "lms" / "alerts.toml"


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org", scopes=("alerts:write", "org:read")) as api:
        api.project("lms", 42)
        api.alerts.add_project(42)
        api.alerts.apps = {"resentry-bridge": 42}
        yield api
        assert api.broken == []


class Place:
    """The command, with what it needs to find the stand-in."""

    def __init__(self, api: SentryApi, folder: Path) -> None:
        (folder / "token").write_text(api.token)
        self.environ = {
            "PATH": os.environ["PATH"],
            "RESENTRY_SENTRY_API": api.url,
            "RESENTRY_SENTRY_ORGANIZATION": "school",
            "RESENTRY_SENTRY_PROJECT": "lms",
            "RESENTRY_SENTRY_TOKEN_FILE": str(folder / "token"),
        }

    def run(self, *args: str) -> tuple[int, str]:
        ran = subprocess.run(
            [sys.executable, "-m", "agent", "alerts", *args],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def document(self, *args: str) -> tuple[int, dict[str, Any]]:
        """Run with `--json`, and hold what is printed to its schema."""
        code, printed = self.run(*args, "--json")
        document: dict[str, Any] = json.loads(printed)
        schema = json.loads(schemas()[document["command"]])
        Draft202012Validator(schema).validate(document)
        return code, document


@pytest.fixture
def place(api: SentryApi, tmp_path: Path) -> Place:
    return Place(api, tmp_path)


def test_the_rules_of_the_guide_from_plan_to_check(
    place: Place, api: SentryApi, tmp_path: Path
) -> None:
    """Planned, applied, checked, changed on the page, seen, and taken back."""
    code, printed = place.run("plan", str(EXAMPLE))
    assert code == 0
    assert (
        "to create  alert    [resentry lms] [critical] unhandled exceptions" in printed
    )
    assert printed.splitlines()[-2] == "4 rules: 7 to create"
    assert "alerts apply makes the changes" in printed.splitlines()[-1]
    assert {method for method, _, _ in api.asked} == {"GET"}
    assert place.run("check", str(EXAMPLE))[0] == 1

    code, printed = place.run("apply", str(EXAMPLE))
    assert (code, printed.splitlines()[-1]) == (
        0,
        "4 rules: 7 done, the server holds what the file says",
    )
    code, printed = place.run("check", str(EXAMPLE))
    assert (code, printed.strip()) == (
        0,
        "4 rules: the server holds what the file says",
    )

    (alert,) = [a for a in api.alerts.alerts if "unhandled" in a["name"]]
    alert["enabled"] = False
    code, document = place.document("check", str(EXAMPLE))
    assert (code, document["error"]["code"]) == (1, "Drift")
    (change,) = document["result"]["left"]
    assert (change["id"], change["details"]) == (alert["id"], ["on: false -> true"])
    assert "alerts apply" in document["error"]["hint"]

    shorter = tmp_path / "shorter.toml"
    shorter.write_text(EXAMPLE.read_text().rpartition("[[metrics]]")[0])
    code, document = place.document("apply", str(shorter))
    assert (code, document["error"]["code"]) == (1, "Drift")
    assert "--delete" in document["error"]["hint"]
    assert [each["verb"] for each in document["result"]["made"]] == ["change"]
    assert [each["verb"] for each in document["result"]["left"]] == ["delete"] * 2
    code, document = place.document("apply", str(shorter), "--delete")
    assert (code, document["result"]["left"]) == (0, [])
    assert len(api.alerts.alerts) == 3


def test_what_cannot_be_done_is_said(place: Place, api: SentryApi) -> None:
    """Each with its own exit code, and with the next step."""
    api.faults = [Fault(410, {"X-Sentry-Deprecation-Date": "2026-05-14"})]
    code, document = place.document("check", str(EXAMPLE))
    assert (code, document["result"]) == (66, None)
    assert "ended this API" in document["error"]["what"]

    api.alerts.is_older = True
    code, printed = place.run("plan", str(EXAMPLE))
    assert code == 66
    assert "older" in printed
    api.alerts.is_older = False

    api.scopes = {"project:read"}
    code, printed = place.run("apply", str(EXAMPLE))
    assert code == 77
    assert "alerts:write" in printed

    del place.environ["RESENTRY_SENTRY_PROJECT"]
    del place.environ["RESENTRY_SENTRY_TOKEN_FILE"]
    code, printed = place.run("plan", str(EXAMPLE))
    assert code == 78
    assert "RESENTRY_SENTRY_PROJECT, RESENTRY_SENTRY_TOKEN_FILE" in printed


def test_a_bugsink_has_no_alert_rules(place: Place) -> None:
    """A real one: the command says so, and what to use instead."""
    with Bugsink() as bugsink:
        place.environ["RESENTRY_SENTRY_API"] = bugsink.url
        code, document = place.document("apply", str(EXAMPLE))
    assert (code, document["error"]["code"]) == (66, "SentryApiAbsent")
    assert "no such alerts" in document["error"]["what"]
    assert "Bugsink have no such API" in document["error"]["hint"]


def test_what_was_made_before_an_error_is_told(place: Place, api: SentryApi) -> None:
    """And the same command goes on from there."""
    fine = [Fault("through")] * 5  # three lists, and two monitors
    api.faults = [*fine, Fault(429, {"Retry-After": "30"})]
    code, document = place.document("apply", str(EXAMPLE))
    assert (code, document["error"]["code"]) == (69, "SentryApiDown")
    assert document["error"]["hint"] == "wait 30 s"
    made, left = (document["result"][each] for each in ("made", "left"))
    assert [len(made), len(left)] == [2, 5]
    assert [each["name"] for each in made] == [
        each["name"] for each in api.alerts.monitors[2:]
    ]
    code, document = place.document("apply", str(EXAMPLE))
    assert (code, len(document["result"]["made"])) == (0, 5)


def test_a_server_that_keeps_something_else_is_no_success(
    place: Place, api: SentryApi
) -> None:
    """The server is read again after the changes: an answer of 201 proves nothing."""
    keep = api.alerts._alert
    api.alerts._alert = lambda body, *_: keep(body | {"enabled": False})  # type: ignore[method-assign]
    code, document = place.document("apply", str(EXAMPLE))
    assert (code, document["error"]["code"]) == (1, "Drift")
    assert "keeps something else" in document["error"]["hint"]
    assert len(document["result"]["left"]) == 4


class Project(NamedTuple):
    """A project whose alert rules the test may make."""

    url: str
    organization: str
    slug: str
    token: str
    app: str


@pytest.fixture(params=["stand-in", "live"])
def project(request: pytest.FixtureRequest) -> Project:
    """The stand-in, or the Sentry that RESENTRY_LIVE_SENTRY names, as URL/ORG/PROJECT."""
    if request.param == "stand-in":
        api: SentryApi = request.getfixturevalue("api")
        return Project(api.url, "school", "lms", api.token, "resentry-bridge")
    named = os.environ.get("RESENTRY_LIVE_SENTRY", "")
    app = os.environ.get("RESENTRY_LIVE_SENTRY_INTEGRATION", "")
    if not (named and app):
        pytest.skip("RESENTRY_LIVE_SENTRY names no Sentry: see CONTRIBUTING.md")
    url, organization, slug = named.rstrip("/").rsplit("/", 2)
    with open(os.environ["RESENTRY_LIVE_SENTRY_TOKEN_FILE"]) as file:
        return Project(url, organization, slug, file.read().strip(), app)


@pytest.mark.timeout(600)
def test_rules_that_were_made_for_it_are_held_and_deleted(project: Project) -> None:
    """Every key of a rule comes back as it went, and nothing stays."""
    api = Client(project.url, project.token, SUBJECT)
    server = Server(api, project.organization, project.slug)
    example = read(str(EXAMPLE))
    storm = IssueRule(
        name="a storm", severity="warning", when=("resolved",), more_than=100, per="5m"
    )
    rules = msgspec.structs.replace(
        example,
        name=f"test-{secrets.token_hex(4)}",
        notify=project.app,
        issues=(*example.issues, storm),
    )
    app, others = server.app(rules.notify), server.held()
    try:
        held = server.held()
        assert len(list(server.change(rules, app, held, plan(rules, held, app)))) == 8
        assert plan(rules, server.held(), app) == []
    finally:
        none = msgspec.structs.replace(rules, issues=(), metrics=())
        held = server.held()
        list(server.change(none, app, held, plan(none, held, app)))
    ids = [each["id"] for part in server.held() for each in part]
    assert ids == [each["id"] for part in others for each in part]
