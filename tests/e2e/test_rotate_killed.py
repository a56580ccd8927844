"""`rotate` is killed at each line of its journal, and each time another process goes on."""

from __future__ import annotations

import json
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests

from agent.rotation.journal import PHASES
from lab.process import Process, eventually
from lab.proxy import Gate
from lab.sentry_api import SentryApi
from lab.sink import Sink
from lab.system import SECRET, System
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from lab.messages import Message

pytestmark = [pytest.mark.process, pytest.mark.timeout(900)]

PROJECT = 42
JOURNAL = "rotations/lms"
SHORT = ("--quiet", "2s", "--refused", "2s")
PATIENCE = 120.0
KEY_MADE, KEY_RETIRED = "a key is made", "the key is retired"


class Point(NamedTuple):
    """One request of a rotation that changes a server, and where it is killed."""

    name: str
    is_wanted: Callable[[Message], bool]
    of_vault: bool
    after: bool
    """Whether the server has done what the request says."""

    @property
    def where(self) -> str:
        """The moment, for people."""
        return f"{'after' if self.after else 'before'}: {self.name}"


def journal_line(phase: str, *, has_version: bool) -> Callable[[Message], bool]:
    """Return whether a request writes the first journal of this phase."""

    def is_wanted(request: Message) -> bool:
        method, path, _ = request.start
        if method not in {"POST", "PUT"} or not path.endswith(JOURNAL):
            return False
        written = json.loads(json.loads(request.body)["data"]["journal"])
        return bool(
            written["phase"] == phase
            and (phase != "accepted" or has_version == (written.get("version", 0) > 0))
        )

    return is_wanted


def change(method: str, path: str) -> Callable[[Message], bool]:
    """Return whether a request changes what is at the end of this path."""

    def is_wanted(request: Message) -> bool:
        return request.start[0] == method and path in request.start[1]

    return is_wanted


def points() -> Iterator[Point]:
    """Return every change of a rotation, in its order: each before and after it.

    Killed before a line, an answer has come and the journal does not have it. Killed after
    a change that is no line, the answer itself is lost.
    """
    changes = {
        "created": (KEY_MADE, change("POST", "/keys/"), False),
        "written": ("the DSN is written", change("POST", f"data/{SECRET}"), True),
        "retired": (KEY_RETIRED, change("PUT", "/keys/"), False),
    }
    for phase in PHASES:
        if phase == "aborted":
            continue
        if phase in changes:
            yield Point(*changes[phase], after=True)
        for has_version in (False, True) if phase == "accepted" else (False,):
            line = journal_line(phase, has_version=has_version)
            name = f"{phase}, with the version" if has_version else phase
            yield Point(name, line, of_vault=True, after=False)
            yield Point(name, line, of_vault=True, after=True)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


class Site(NamedTuple):
    """The parts, with a gate before each server that a rotation changes."""

    system: System
    api: SentryApi
    vault_gate: Gate
    api_gate: Gate

    def rotate(self, *args: str) -> Process:
        return self.system.spawn(
            *("resentry-agent", "rotate", *args, "--json"),
            environ={
                "RESENTRY_FLEET": f"http://127.0.0.1:{self.system.http_port}",
                "RESENTRY_VAULT_ADDR": self.vault_gate.url,
                "RESENTRY_SENTRY_API": self.api_gate.url,
            },
        )

    def journal(self) -> dict[str, Any] | None:
        held = self.versions(JOURNAL)
        return json.loads(held["data"]["journal"]) if held else None

    def versions(self, path: str) -> dict[str, Any] | None:
        """Return the newest version of a secret, with its number."""
        answer = self.system.vault.client.read(f"secret/data/{path}")
        return dict(answer["data"]) if answer else None

    def age(self) -> None:
        """Let the minute pass for which a killed process has the lock."""
        journal = self.journal()
        if journal is not None:
            journal["until"] = 0.0
            self.system.vault.write(JOURNAL, journal=json.dumps(journal))


@pytest.fixture
def site(sink: Sink, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        api = stack.enter_context(SentryApi(sink.address))
        api.project("lms", PROJECT)
        api.switched = lambda project, key, is_active: sink.answer(
            project, "ok" if is_active else 403, key=key
        )
        token = tmp_path / "token"
        token.write_text(api.token)
        system = stack.enter_context(
            System(
                RESENTRY_ROTATION_PATH=f"secret/data/{JOURNAL}",
                RESENTRY_SENTRY_ORGANIZATION="school",
                RESENTRY_SENTRY_PROJECT="lms",
                RESENTRY_SENTRY_TOKEN_FILE=str(token),
                RESENTRY_DSN_CHECK_SECONDS="5",
            )
        )
        gates = (
            stack.enter_context(Gate(system.vault.address)),
            stack.enter_context(Gate(api.url)),
        )
        yield Site(system, api, *gates)
        assert api.broken == []


class Users:
    """Report an event with each request, and know how many there were."""

    def __init__(self, system: System) -> None:
        self._url = f"http://127.0.0.1:{system.api_port}/courses/1"
        self.sent = 0

    def report_until(self, condition: Callable[[], bool], what: str) -> None:
        """Report one event after the other until it is so."""
        eventually(lambda: self._report() or condition(), PATIENCE, what)

    def _report(self) -> None:
        requests.get(self._url, timeout=30)
        self.sent += 1

    def must_have_arrived(self, sink: Sink) -> None:
        """Assert that no event was lost, and none came twice."""
        arrived = sink.count
        eventually(lambda: arrived("event", PROJECT) >= self.sent, PATIENCE, "events")
        assert sink.count("event", PROJECT) == self.sent
        assert sink.duplicates() == 0


@pytest.fixture
def users(site: Site) -> Users:
    """Two processes of an application, which run the DSN of the first key."""
    (old,) = site.api.projects["lms"].keys
    site.system.write(SENTRY_DSN=old["dsn"]["public"])
    site.system.start_agent()
    site.system.start_api(workers=2)
    site.system.converge(2, 1)
    return Users(site.system)


def kill_at(point: Point, site: Site, users: Users, *args: str) -> None:
    """Start `rotate`, and kill it where it changes this."""
    gate = site.vault_gate if point.of_vault else site.api_gate
    gate.hold(point.is_wanted, after=point.after)
    process = site.rotate(*args)
    users.report_until(lambda: gate.is_held or not process.alive, point.where)
    assert process.alive, f"{point.where}: {process.log_text()}"
    process.signal(signal.SIGKILL)
    eventually(lambda: not process.alive, what="its end")


def active(site: Site) -> list[bool]:
    """Return for each key, the oldest first, whether it is active."""
    return [key["isActive"] for key in site.api.projects["lms"].keys]


def test_killed_at_each_line_of_the_journal_the_end_is_the_same(
    site: Site, users: Users, sink: Sink
) -> None:
    """One new key, one write of the DSN, the old key's end; no event lost or doubled.

    The lock of a killed process ends after a minute; here it ends at once, except once.
    """
    every = list(points())
    retired_at = [point.name for point in every].index(KEY_RETIRED)
    for number, point in enumerate(every):
        kill_at(point, site, users, *(("--resume",) if site.journal() else SHORT))
        assert active(site)[0] == (number < retired_at), point.where
        assert len(active(site)) <= 2, point.where
        if point.name != KEY_MADE:
            site.age()

    last = site.rotate("--watch")
    users.report_until(lambda: not last.alive, "the end")
    assert last.returncode == 0, last.log_text()
    assert active(site) == [False, True]
    must_hold(site, phase="done", key=1, version=2)
    users.must_have_arrived(sink)


def must_hold(site: Site, phase: str, key: int, version: int) -> None:
    """Assert where the rotation is, and whose DSN the secret holds since which version."""
    journal, secret = site.journal(), site.versions(SECRET)
    assert journal is not None
    assert secret is not None
    dsns = [key["dsn"]["public"] for key in site.api.projects["lms"].keys]
    assert (journal["old"], journal["new"]) == tuple(map(fingerprint, dsns))
    assert journal["phase"] == phase
    assert secret["data"] == {"SENTRY_DSN": dsns[key]}
    assert secret["metadata"]["version"] == version


def is_aborting(request: Message) -> bool:
    """Whether a request writes that the rotation goes back."""
    _, path, _ = request.start
    return path.endswith(JOURNAL) and b'is_aborting\\":true' in request.body


@pytest.mark.vault
def test_killed_at_each_step_of_an_abort_the_old_dsn_is_back(
    site: Site, users: Users, sink: Sink
) -> None:
    """After the old key's end, even: it lives again, and no event is lost or doubled.

    A person does so when processes report that their events are refused.
    """
    rotating = site.rotate("--quiet", "2s", "--refused", "10m")
    users.report_until(lambda: "retired:" in rotating.log_text(), "the old key's end")
    assert active(site) == [False, True]
    sink.answer(PROJECT, 403, key=site.api.projects["lms"].keys[1]["id"])
    users.report_until(lambda: "have refused" in rotating.log_text(), "a rise")
    rotating.kill()
    site.age()
    aborted = journal_line("aborted", has_version=False)
    for point in (
        Point("the order to go back", is_aborting, of_vault=True, after=False),
        Point("the order to go back", is_aborting, of_vault=True, after=True),
        Point("the old key lives", change("PUT", "/keys/"), of_vault=False, after=True),
        Point("the DSN is written", change("POST", f"data/{SECRET}"), True, True),
        Point("the new key ends", change("PUT", "/keys/"), of_vault=False, after=True),
        Point("aborted", aborted, of_vault=True, after=False),
        Point("aborted", aborted, of_vault=True, after=True),
    ):
        is_ordered = (site.journal() or {})["is_aborting"]
        kill_at(point, site, users, "--resume" if is_ordered else "--abort")
        site.age()

    assert active(site) == [True, False]
    must_hold(site, phase="aborted", key=0, version=3)
    users.must_have_arrived(sink)
