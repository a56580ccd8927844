"""`rotate` on each kind of server: a real Bugsink, GlitchTip's habits, a live Sentry."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import requests

from agent.rotation.keys import SUBJECT, Keys
from agent.sentry_api.client import SentryApi as Client
from lab.bugsink import Bugsink
from lab.process import eventually
from lab.sink import Sink
from lab.system import System
from resentry.contract import fingerprint
from tests.support.rotating import (
    JOURNAL,
    active,
    ended,
    environ_of,
    held,
    rotate,
    says,
    sentry,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.process, pytest.mark.timeout(400)]

SHORT = ("--quiet", "1s", "--refused", "2s")


def test_on_bugsink_a_person_makes_and_deletes(tmp_path: Path) -> None:
    """Its projects have one key each, so a new key is a new project.

    The rotation waits for the person, loses no event, and leaves no trace in Bugsink.
    The next one may begin at once.
    """
    environ = {"RESENTRY_ROTATION_PATH": JOURNAL, "RESENTRY_DSN_CHECK_SECONDS": "5"}
    files = {name: tmp_path / name for name in ("second", "third")}
    with Bugsink() as bugsink, System(None, **environ) as system:
        first = bugsink.project("first")
        for name, file in files.items():
            file.write_text(bugsink.project(name))
        second = files["second"].read_text()
        system.write(SENTRY_DSN=first)
        system.start_agent()
        system.start_api(workers=1)
        system.converge(1, 1)
        sent = 0

        def report() -> None:
            nonlocal sent
            url = f"http://127.0.0.1:{system.api_port}/courses/7"
            requests.get(url, timeout=30)
            sent += 1

        going = rotate(system, *SHORT, "--new-dsn", str(files["second"]))
        asked = "disable or delete"
        eventually(lambda: report() or asked in going.log_text(), 120, asked)
        assert "is of another server or project" in going.log_text()
        stored: list[list[dict[str, str]]] = []

        def all_stored() -> bool:
            stored[:] = [bugsink.events(name) for name in ("first", "second")]
            return sum(map(len, stored)) >= sent

        eventually(all_stored, what="every event")
        bugsink.delete("first")
        result = ended(going)

        assert (result["phase"], result["new"]) == ("done", fingerprint(second))
        assert held(system) == {"SENTRY_DSN": second}
        assert sum(map(len, stored)) == sent
        assert all(stored)
        assert bugsink.events("third") == []
        assert len(bugsink.issues("second")) == 1
        dry = rotate(system, *SHORT, "--new-dsn", str(files["third"]), "--dry-run")
        assert ended(dry)["phase"] == "planned"


def test_on_glitchtip_no_wrong_key_is_ever_sent(tmp_path: Path) -> None:
    """It blocks a project for that; it deletes, since its switch does nothing."""
    with Sink() as sink, sentry(sink, is_glitchtip=True) as api:
        api.scopes = {"project:admin"}
        (old,) = api.projects["lms"].keys
        environ = environ_of(api, tmp_path)
        environ["RESENTRY_DSN_CHECK_BACKEND"] = "glitchtip"
        with System(None, **environ) as system:
            system.write(SENTRY_DSN=old["dsn"]["public"])
            system.start_agent()
            system.start_api(workers=1)
            system.converge(1, 1)
            file = tmp_path / "new-dsn"
            file.write_text(sink.dsn(42, "b" * 32))
            given = ("--new-dsn", str(file))
            refused = rotate(system, *SHORT, *given, RESENTRY_SENTRY_API="")
            ended(refused, 78)
            assert "GlitchTip blocks a whole project" in refused.log_text()

            result = ended(rotate(system, *SHORT))
            assert result["phase"] == "done"
            (new,) = api.projects["lms"].keys
            assert held(system) == {"SENTRY_DSN": new["dsn"]["public"]}
            changes = [method for method, _, _ in api.asked if method != "GET"]
            assert changes == ["POST", "PUT", "DELETE"]

            back = rotate(system, "--abort")
            ended(back, 66)
            ended(rotate(system, *SHORT))
        assert sink.answered(403) == 0
        assert active(api) == [True]


def test_a_leaked_key_is_retired_at_its_deadline_and_deleted(tmp_path: Path) -> None:
    """What would lose events is named before; deletion needs another token, and time."""
    with Sink() as sink, sentry(sink) as api:
        (old,) = api.projects["lms"].keys
        with System(None, **environ_of(api, tmp_path)) as system:
            system.write(SENTRY_DSN=old["dsn"]["public"])
            system.start_agent()
            system.start_api(workers=1)
            system.converge(1, 1)
            two = {"RESENTRY_FLEET_EXPECT": "2"}
            going = rotate(system, *SHORT, **two)
            says(going, "does not run everywhere: 1 of 2 expected pods")
            assert going.stop() == 130
            busy = rotate(system, "--leaked", "15m", **two)
            ended(busy, 75)
            assert "--resume goes on with it, also with --leaked" in busy.log_text()
            assert active(api) == [True, True]

            last = rotate(system, "--resume", "--leaked", "8s", **two)
            says(last, "1 of 2 expected pods: the deadline is over")
            result = ended(last)
            assert result["phase"] == "done"
            assert any("has leaked: it is retired at" in e for e in result["entries"])
            assert active(api) == [False, True]

            planned = rotate(system, "--leaked", "15m", "--dry-run", **two)
            ended(planned)
            for text in ("expected loss", "api pid", "1 of 2 expected pods"):
                assert text in planned.log_text()

            def delete(*args: str) -> tuple[int, str]:
                fleet = f"http://127.0.0.1:{system.http_port}"
                command = ("resentry-agent", "delete-key", *args)
                return system.run(*command, RESENTRY_FLEET=fleet)

            assert delete()[0] == 75
            code, printed = delete("--after", "0s")
            assert (code, "project:admin" in printed) == (77, True), printed
            api.scopes = {"project:admin"}
            old["isActive"] = True
            code, printed = delete("--after", "0s")
            assert (code, "is active again" in printed) == (75, True), printed
            again = rotate(system, *SHORT)
            ended(again, 75)
            assert "is active again" in again.log_text()
            old["isActive"] = False
            assert delete("--after", "0s")[0] == 0
            assert active(api) == [True]
            assert delete("--after", "0s")[0] == 0


class Place(NamedTuple):
    """A project whose keys the test may make, and how quick its server is."""

    url: str
    organization: str
    project: str
    token_file: Path
    check_seconds: str
    refused: str


@pytest.fixture(params=["stand-in", "live"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The stand-in, or the Sentry that RESENTRY_LIVE_SENTRY names, as URL/ORG/PROJECT."""
    if request.param == "live":
        named = os.environ.get("RESENTRY_LIVE_SENTRY", "")
        if not named:
            pytest.skip("RESENTRY_LIVE_SENTRY names no Sentry: see CONTRIBUTING.md")
        url, organization, project = named.rstrip("/").rsplit("/", 2)
        file = Path(os.environ["RESENTRY_LIVE_SENTRY_TOKEN_FILE"])
        yield Place(url, organization, project, file, "60", "60s")
        return
    with Sink() as sink, sentry(sink) as api:
        file = tmp_path / "token"
        file.write_text(api.token)
        yield Place(api.url, "school", "lms", file, "5", "2s")


@pytest.mark.timeout(1800)
def test_a_key_that_was_made_for_it_is_replaced(place: Place) -> None:
    """No other key of the project is touched, and no key of the test stays active."""
    token = place.token_file.read_text().strip()
    keys = Keys(Client(place.url, token, SUBJECT), place.organization, place.project)
    others = keys.all()
    old = keys.make(f"resentry-test-{secrets.token_hex(4)}")
    try:
        with System(
            None,
            RESENTRY_ROTATION_PATH=JOURNAL,
            RESENTRY_SENTRY_API=place.url,
            RESENTRY_SENTRY_ORGANIZATION=place.organization,
            RESENTRY_SENTRY_PROJECT=place.project,
            RESENTRY_SENTRY_TOKEN_FILE=str(place.token_file),
            RESENTRY_DSN_CHECK_SECONDS=place.check_seconds,
        ) as system:
            system.write(SENTRY_DSN=old.dsn)
            system.start_agent()
            system.start_api(workers=1)
            system.converge(1, 1)
            going = rotate(system, "--quiet", "5s", "--refused", place.refused)
            eventually(lambda: not going.alive, 1500, "the end of rotate")
            assert ended(going)["phase"] == "done"
            made = [key for key in keys.all() if key not in others]
            assert [(key.id == old.id, key.is_active) for key in made] == [
                (False, True),
                (True, False),
            ]
            assert held(system) == {"SENTRY_DSN": made[0].dsn}
    finally:
        for key in keys.all():
            if key not in others:
                keys.switch(key.id, is_active=False)
    assert [key for key in keys.all() if key in others] == others
