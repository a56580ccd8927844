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

pytestmark = [pytest.mark.vault, pytest.mark.timeout(900)]

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


def test_killed_at_each_line_of_the_journal_the_end_is_the_same(
    site: Site, sink: Sink
) -> None:
    """One new key, one write of the DSN, the old key's end; no event lost or doubled.

    The lock of a killed process ends after a minute; here it ends at once, except once.
    """
    system = site.system
    (old,) = site.api.projects["lms"].keys
    system.write(SENTRY_DSN=old["dsn"]["public"])
    system.start_agent()
    system.start_api(workers=2)
    system.converge(2, 1)
    sent = 0

    def report() -> None:
        nonlocal sent
        requests.get(f"http://127.0.0.1:{system.api_port}/courses/1", timeout=30)
        sent += 1

    every = list(points())
    retired_at = [point.name for point in every].index(KEY_RETIRED)
    for number, point in enumerate(every):
        gate = site.vault_gate if point.of_vault else site.api_gate
        gate.hold(point.is_wanted, after=point.after)
        process = site.rotate(*(("--resume",) if site.journal() else SHORT))
        where = f"{'after' if point.after else 'before'} {point.name}"
        eventually(
            lambda p=process, g=gate: report() or g.is_held or not p.alive,
            PATIENCE,
            where,
        )
        assert process.alive, f"{where}: {process.log_text()}"
        process.signal(signal.SIGKILL)
        eventually(lambda p=process: not p.alive, what="its end")
        active = [key["isActive"] for key in site.api.projects["lms"].keys]
        assert active[0] == (number < retired_at), where
        assert len(active) <= 2, where
        if point.name != KEY_MADE:
            site.age()

    last = site.rotate("--watch")
    eventually(lambda: report() or not last.alive, PATIENCE, "the end")
    assert last.returncode == 0, last.log_text()
    journal = site.journal()
    assert journal is not None
    assert journal["phase"] == "done"
    kept, new = site.api.projects["lms"].keys
    assert (kept["id"], kept["isActive"], new["isActive"]) == (old["id"], False, True)
    secret = site.versions(SECRET)
    assert secret is not None
    assert secret["data"] == {"SENTRY_DSN": new["dsn"]["public"]}
    assert secret["metadata"]["version"] == 2
    assert journal["new"] == fingerprint(new["dsn"]["public"])
    eventually(lambda: sink.count("event", PROJECT) >= sent, what="every event")
    assert sink.count("event", PROJECT) == sent
    assert sink.duplicates() == 0
