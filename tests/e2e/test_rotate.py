"""`rotate`: a DSN is replaced under load, and its key retired when nobody holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import requests

from lab.process import eventually
from lab.sentry_api import Fault, SentryApi
from lab.system import System
from resentry.contract import fingerprint
from tests.support.rotating import (
    JOURNAL,
    PROJECT,
    ended,
    environ_of,
    held,
    rotate,
    says,
    sentry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab.sink import Sink

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


@pytest.fixture
def api(sink: Sink) -> Iterator[SentryApi]:
    with sentry(sink) as api:
        yield api


@pytest.fixture
def system(api: SentryApi, tmp_path: Path) -> Iterator[System]:
    with System(**environ_of(api, tmp_path)) as system:
        yield system


@pytest.mark.vault
def test_a_rotation_under_load(system: System, sink: Sink, api: SentryApi) -> None:
    """Ended in the middle and resumed; no event is lost or doubled."""
    (old,) = api.projects["lms"].keys
    others = {"SENTRY_SAMPLE_RATE": "1.0", "theirs": {"kept": True}}
    system.write(SENTRY_DSN=old["dsn"]["public"], **others)
    system.start_agent()
    system.start_api(workers=2)
    system.converge(2, 1)
    sent = 0

    def report() -> None:
        nonlocal sent
        requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=10)
        sent += 1

    first = rotate(system, "--quiet", "2s", "--refused", "3s")
    eventually(lambda: report() or "written:" in first.log_text(), 60, "a new value")
    assert first.stop() == 130
    assert "--resume goes on" in first.log_text()
    second = rotate(system, "--resume")
    eventually(lambda: report() or not second.alive, 120, "the end")

    result = ended(second)
    assert result["phase"] == "done"
    (new,) = (key for key in api.projects["lms"].keys if key["isActive"])
    assert new["name"] == f"resentry-{result['rotation']}"
    assert held(system) == {"SENTRY_DSN": new["dsn"]["public"], **others}
    eventually(lambda: sink.count("event", PROJECT) >= sent, what="every event")
    assert sink.duplicates() == 0
    assert sink.answered(403, PROJECT, old["id"]) > 0
    fleet = f"http://127.0.0.1:{system.http_port}"
    told = ("resentry-agent", "fleet", "--drained", "--wait", "30s", "--dsn")
    for dsn, code in ((result["new"], 0), (result["old"], 1)):
        asked = (*told[:-3], *told[-1:]) if code else told
        ran = system.run(*asked, dsn, RESENTRY_FLEET=fleet)
        assert ran[0] == code, ran[1]
        assert f"DSN {result['new']}: 2 processes run it" in ran[1]
    text = json.dumps(system.vault.client.read(JOURNAL)["data"])
    assert old["id"] not in text
    assert new["id"] not in text
    assert fingerprint(new["dsn"]["public"]) in text


def test_where_no_api_makes_keys_a_person_does(
    system: System, sink: Sink, tmp_path: Path
) -> None:
    """The rotation says what to do, waits until it is done, and skips nothing."""
    old, new = sink.dsn(PROJECT, "a" * 32), sink.dsn(PROJECT, "b" * 32)
    system.environ["RESENTRY_SENTRY_API"] = ""
    system.write(SENTRY_DSN=old)
    system.start_agent()
    system.start_api(workers=1)
    system.converge(1, 1)

    asked = rotate(system, "--quiet", "1s", "--refused", "1s")
    eventually(lambda: "--new-dsn" in asked.log_text(), 60, "advice")
    assert asked.stop() == 130
    file = tmp_path / "new-dsn"
    file.write_text(new)
    given = rotate(system, "--resume", "--new-dsn", str(file))
    eventually(lambda: "disable or delete" in given.log_text(), 60, "the next advice")
    watching = rotate(system, "--watch")
    eventually(lambda: "disable or delete" in watching.log_text(), what="the same")
    busy = rotate(system, "--quiet", "1s", "--new-dsn", str(file))
    ended(busy, 75)
    assert "--resume goes on with it" in busy.log_text()
    system.vault.pause()
    for each in (given, watching):
        eventually(lambda e=each: "Vault hangs" in e.log_text(), 60, "a failure")
    system.vault.resume()
    assert given.alive
    assert watching.alive
    sink.answer(PROJECT, 403, key="a" * 32)
    result = ended(given)
    assert ended(watching)["phase"] == "done"
    assert (result["phase"], result["new"]) == ("done", fingerprint(new))
    assert held(system)["SENTRY_DSN"] == new
    assert new not in json.dumps(system.vault.client.read(JOURNAL)["data"])


def test_an_aborted_rotation_leaves_the_old_dsn(system: System, api: SentryApi) -> None:
    """Everywhere, and the new key is retired; what holds it up is named before."""
    (old,) = api.projects["lms"].keys
    system.write(SENTRY_DSN=old["dsn"]["public"])
    system.start_agent()
    system.start_api(workers=1)
    system.converge(1, 1)
    system.environ["RESENTRY_FLEET_EXPECT"] = "2"

    stuck = rotate(system, "--quiet", "1s")
    eventually(lambda: "1 of 2 expected pods" in stuck.log_text(), 60, "who is missing")
    eventually(lambda: "written:" in stuck.log_text(), 60, "the new value")
    aborts = rotate(system, "--abort", "--force", "1 of 2 expected pods")
    result = ended(aborts)
    assert ended(stuck) == result
    assert "takes this decision up" in aborts.log_text()
    assert result["phase"] == "aborted"
    assert held(system) == {"SENTRY_DSN": old["dsn"]["public"]}
    assert [key["isActive"] for key in api.projects["lms"].keys] == [True, False]


def test_what_is_missing_is_named_before_anything_is_done(
    system: System, api: SentryApi
) -> None:
    """The most likely slips."""
    (old,) = api.projects["lms"].keys
    api.project("other", 77)
    roles = {"celery": {"SENTRY_DSN": old["dsn"]["public"]}}
    system.write(SENTRY_DSN=old["dsn"]["public"], RESENTRY_ROLES=roles)
    for environ, args, code, told in (
        ({"RESENTRY_ROTATION_PATH": ""}, (), 78, "RESENTRY_ROTATION_PATH"),
        ({"RESENTRY_FLEET": ""}, (), 78, "RESENTRY_FLEET"),
        ({}, ("--quiet", "1s"), 78, "name one with --role"),
        ({}, ("--role", "celery"), 78, "set --quiet"),
        (
            {"RESENTRY_SENTRY_PROJECT": "other"},
            ("--role", "celery"),
            78,
            "has no key with the DSN",
        ),
        ({}, ("--resume", "--role", "celery"), 66, "no rotation of this secret"),
    ):
        process = system.spawn(
            *("resentry-agent", "rotate", *args),
            environ={"RESENTRY_FLEET": "http://127.0.0.1:9", **environ},
        )
        eventually(lambda p=process: not p.alive, what="its end")
        assert (process.returncode, told in process.log_text()) == (code, True)
    assert [method for method, _, _ in api.asked if method != "GET"] == []


def test_a_schedule_begins_only_while_all_is_well(
    system: System, api: SentryApi
) -> None:
    """Not during a boost or an outage; what was begun is gone on with; held stays held."""
    (old,) = api.projects["lms"].keys
    system.write(SENTRY_DSN=old["dsn"]["public"])
    system.start_agent()
    system.start_api(workers=1)
    system.converge(1, 1)
    scheduled = ("--scheduled", "--quiet", "1s", "--refused", "1s")

    assert system.run("resentry-agent", "boost", "--traces", "1", "--for", "1h")[0] == 0
    process = rotate(system, *scheduled)
    ended(process, 75)
    assert "has a boost in force" in process.log_text()
    boosts = json.loads(system.run("resentry-agent", "boost", "--list", "--json")[1])
    boost = boosts["result"]["boosts"][0]["id"]
    assert system.run("resentry-agent", "boost", "--end", boost)[0] == 0
    system.converge(1, 3)

    api.faults = [Fault("through")] + [Fault(503)] * 3 + [Fault(403)]
    assert ended(rotate(system, *scheduled), 1)["held"]
    assert ended(rotate(system, *scheduled), 1)["held"]
    assert [key["isActive"] for key in api.projects["lms"].keys] == [True]
    resumed = rotate(system, "--resume")
    says(resumed, "created:")
    assert resumed.stop() == 130
    # What a person has decided is not undone by what the schedule says each time.
    longer = ("--scheduled", "--quiet", "2h", "--refused", "2h", "--leaked", "9h")
    assert ended(rotate(system, *longer))["phase"] == "done"
