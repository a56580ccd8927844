"""Each request of a rotation to Sentry's API goes wrong once, in each way that it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from agent.rotation.journal import Journal
from agent.rotation.keys import SUBJECT, Keys
from agent.sentry_api import client
from lab.sentry_api import Fault, SentryApi
from resentry.contract import fingerprint
from tests.unit.agent.rotation.turned import Rotation
from tests.unit.agent.rotation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.rotation.parts import Verdict

pytestmark = [pytest.mark.server, pytest.mark.slow]

PROJECT = 42
TRIED_AGAIN = [429, 500, 502, 503, "lost", "hang"]
HELD = [302, 400, 401, 403, 404, 405, 410, "page"]


class ApiWorld(World):
    """A world whose keys are those of a stand-in for Sentry's API."""

    def __init__(self, api: SentryApi) -> None:
        super().__init__()
        self.api = api
        made = client.SentryApi(api.url, api.token, SUBJECT)
        self._keys = Keys(made, "school", "lms")
        self.now = 1_700_002_800.0
        (old,) = api.projects["lms"].keys
        self.old = str(old["dsn"]["public"])
        self.versions = [self.old]
        self.runs = dict.fromkeys(self.runs, self.old)
        api.switched = lambda _, key, is_active: self._note_holders(
            key, is_active=is_active
        )

    @property
    def keys(self) -> Keys:  # type: ignore[override]
        return self._keys

    @property
    def live(self) -> list[str]:
        keys = self.api.projects["lms"].keys
        return [key["dsn"]["public"] for key in keys if key["isActive"]]

    def verdict(self, text: str) -> Verdict:
        return "accepted" if text in self.live else "rejected"


def rotation(api: SentryApi) -> tuple[Rotation, ApiWorld]:
    api.projects.clear()
    api.project("lms", PROJECT)
    api.asked.clear()
    world = ApiWorld(api)
    journal = Journal(
        rotation="r1",
        secret="secret/data/lms",
        old=fingerprint(world.old),
        quiet_seconds=60.0,
        needs_quiet=True,
        refused_seconds=60.0,
        since=world.now,
    )
    return Rotation(world, journal), world


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org") as api:
        api.has_stats = True
        yield api
        assert api.broken == []


def at(number: int, how: Any) -> list[Any]:
    """Only this request goes wrong."""
    return [None] * number + [Fault(how, {"Retry-After": "1"})]


def through(made: Rotation, world: ApiWorld) -> int:
    """Run to the end, resumed by a person each time it is held; return how often."""
    held = 0
    while True:
        made.run(lambda journal: journal.has_ended or bool(journal.held))
        if made.journal.has_ended:
            return held
        held += 1
        was_retired = made.journal.has_reached("retired")
        assert world.old in world.live or was_retired or made.journal.is_aborting
        made.journal = replace(made.journal, held="", tries=0)


@pytest.mark.parametrize("how", [*TRIED_AGAIN, *HELD])
def test_each_request_goes_wrong_once(
    api: SentryApi, how: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is the same; a person is needed only for what does not pass by itself."""
    if how == "hang":
        monkeypatch.setattr(client, "SECONDS", 0.2)
    made, world = rotation(api)
    assert through(made, world) == 0
    requests = len(api.asked)
    assert {method for method, _, _ in api.asked} == {"GET", "POST", "PUT"}
    assert any(path.endswith("/stats/") for _, path, _ in api.asked)
    for number in range(requests):
        made, world = rotation(api)
        api.faults = at(number, how)
        held = through(made, world)
        where = f"{how} at request {number}: {api.asked}"
        assert made.journal.phase == "done", where
        assert [fingerprint(dsn) for dsn in world.live] == [made.journal.new], where
        assert world.versions == [world.old, *world.live], where
        assert world.retired_while_held == [], where
        assert held == 0 or how in HELD, where


@pytest.mark.parametrize("how", [503, "lost", 403])
def test_each_request_of_an_abort_goes_wrong_once(
    api: SentryApi, how: int | str
) -> None:
    """After the old key was retired: it lives again before its DSN is put back."""

    def aborting() -> tuple[Rotation, ApiWorld]:
        made, world = rotation(api)
        made.run(lambda journal: journal.phase == "retired")
        made.journal = replace(made.journal, is_aborting=True)
        world.retired_while_held.clear()
        api.asked.clear()
        return made, world

    made, world = aborting()
    through(made, world)
    for number in range(len(api.asked)):
        made, world = aborting()
        api.faults = at(number, how)
        through(made, world)
        where = f"{how} at request {number}: {api.asked}"
        assert made.journal.phase == "aborted", where
        assert world.live == [world.old] == world.versions[-1:], where
        assert world.retired_while_held == [], where


@pytest.mark.parametrize("how", [503, "lost", 403])
def test_each_request_to_glitchtip_goes_wrong_once(
    api: SentryApi, how: int | str
) -> None:
    """It answers a deactivation with 200 and does nothing; so the key is deleted."""
    api.is_glitchtip, api.scopes = True, {"project:admin"}

    def begun() -> tuple[Rotation, ApiWorld]:
        made, world = rotation(api)
        world.ignores_switch = True
        return made, world

    made, world = begun()
    through(made, world)
    assert "DELETE" in {method for method, _, _ in api.asked}
    for number in range(len(api.asked)):
        made, world = begun()
        api.faults = at(number, how)
        through(made, world)
        where = f"{how} at request {number}: {api.asked}"
        assert made.journal.phase == "done", where
        keys = [key["dsn"]["public"] for key in api.projects["lms"].keys]
        assert keys == world.versions[1:], where
        assert world.retired_while_held == [], where
