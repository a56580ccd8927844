"""The canary's two alerts: they need no store that can be written, and no right clock."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.bridge import canary as canary_module
from agent.bridge import news, post, trips
from agent.bridge.canary import Canary
from agent.bridge.metrics import BridgeMetrics
from agent.bridge.post import Poster
from agent.bridge.store import Store
from agent.bridge.tables import StoreError, Webhook
from resentry.formats import time_text

EVERY, LIMIT = 3600.0, 900.0
ALIVE, MISSING = "ResentryCanary", "ResentryCanaryMissing"


class Clock:
    """What the modules under test take for `time`."""

    def __init__(self) -> None:
        self.now = time.time()
        self.monotonic = time.monotonic
        self.sleep = time.sleep

    def time(self) -> float:
        return self.now


class World:
    """A canary and one Alertmanager, with Sentry and the network played."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.sent = Clock(), list[bytes]()
        self.metrics = BridgeMetrics("1", ["am"])
        self.store = Store(str(folder / "bridge.db"), 3600)
        self.posted = list[dict[str, Any]]()
        for module in (canary_module, post):
            monkeypatch.setattr(module, "time", self.clock)
        monkeypatch.setattr(canary_module, "post_envelope", self._accept)
        monkeypatch.setattr(Poster, "_send", self._take)
        self.begin()

    def begin(self) -> None:
        self.canary = Canary(
            *("http://key@sentry/1", "production"),
            every=EVERY,
            limit=LIMIT,
            store=self.store,
            metrics=self.metrics.duty,
        )
        self.poster = Poster("http://am", "am", self.store, 60, {}, self.metrics)
        self.poster.own = self.canary.rows

    def _accept(self, _agent: str, _dsn: str, body: bytes, _: float) -> tuple[int, str]:
        self.sent.append(body)
        return 200, ""

    def _take(self, rows: Any) -> tuple[int, bytes]:
        now = self.clock.now
        self.posted += [post._document(row, now, 0.0) for row in rows]
        return 200, b""

    def look(self, later: float = 0.0) -> None:
        self.clock.now += later
        self.canary._round()

    def come_back(self) -> str:
        _, _, event, _ = self.sent[-1].split(b"\n")
        tag = float(json.loads(event)["tags"][news.CANARY_TAG])
        webhook = Webhook(f"{tag}", "event_alert", tag, news.News("c", canary=tag))
        now = self.clock.now
        taken = self.store.submit(lambda made: trips.arrived(made, webhook.told, now))
        return taken.result(5)

    def break_store(self) -> None:
        """No transaction succeeds from now on, as on a full disk."""
        self.store._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(StoreError):
            self.store.submit(lambda made: trips.sent(made, 1.0)).result(5)

    def told(self) -> dict[str, bool]:
        """Return the alerts that are posted now, and whether they are open."""
        self.posted.clear()
        try:
            self.poster._post_all(is_due=True)
        except StoreError:
            assert self.store.reason
        return {
            each["labels"]["alertname"]: each["endsAt"] > time_text(self.clock.now)
            for each in self.posted
        }


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    with closing(made.store):
        yield made


def test_the_sign_of_life_stops_when_the_store_cannot_be_written(world: World) -> None:
    """And the alarm comes in its time, though nothing can be stored. One canary is sent."""
    world.look()
    assert world.come_back() == "canary"
    world.look(15)
    assert world.told() == {ALIVE: True, MISSING: False}
    world.break_store()
    world.look(15)
    assert world.told() == {}
    world.look(EVERY)
    world.look(15)
    assert len(world.sent) == 2
    assert world.told() == {}
    world.look(LIMIT)
    assert world.told() == {MISSING: True, ALIVE: False}
    assert world.canary.is_missing()
    world.store._connection.execute("PRAGMA query_only = OFF")
    assert world.come_back() == "canary"
    world.look(15)
    assert world.told() == {ALIVE: True, MISSING: False}


def test_an_end_is_told_for_a_while_and_a_restart_changes_nothing(world: World) -> None:
    """What is missing before a restart is missing after it."""
    world.look()
    world.come_back()
    world.look(15)
    world.look(EVERY + LIMIT)
    assert world.told() == {MISSING: True, ALIVE: False}
    world.look(canary_module.CLOSED_SECONDS + 1)
    assert world.told() == {MISSING: True}
    world.begin()
    world.look()
    assert world.told()[MISSING]


@pytest.mark.parametrize("names", [["sent"], ["since", "sent", "back", "arrived"]])
def test_a_clock_that_was_ahead_once_does_not_end_the_canary(
    world: World, names: list[str]
) -> None:
    """A time in the future is no time: canaries go on, and are missed."""
    far = world.clock.now + 86_400

    def spoil(connection: sqlite3.Connection) -> None:
        for name in names:
            trips._note(connection, f"canary_{name}", far)

    world.store.submit(spoil).result(5)
    world.look()
    assert len(world.sent) == 1
    assert world.told() == {}
    world.look(EVERY + LIMIT + 1)
    assert world.told()[MISSING]
    assert world.come_back() == "canary"
    world.look(15)
    assert world.told() == {ALIVE: True, MISSING: False}
