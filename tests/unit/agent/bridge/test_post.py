"""Which replicas of an Alertmanager are told, and how long of an end."""

import json
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.bridge import alertmanager, canary, escalate, news, post, tables
from agent.bridge.metrics import BridgeMetrics
from agent.bridge.post import CLOSED_SECONDS, Poster, Refused
from agent.bridge.store import Store
from agent.web import Answer, Request
from lab.process import eventually
from resentry.formats import time_text

A, B = "10.0.0.1", "10.0.0.2"
ALERT = news.Alert({"alertname": "SentryIssue", "severity": "critical"}, {})


class Network:
    """Two replicas behind one name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away = set[str]()
        self.known = dict[str, bool]()
        self.asked = list[tuple[str, str]]()
        self.body = b"[]"
        for module in (post, escalate):
            monkeypatch.setattr(module, "ask", self.ask)
            monkeypatch.setattr(module, "addresses_of", lambda _: [A, B])

    def ask(self, request: Request, *_: Any, **__: Any) -> Answer:
        self.asked.append((request.method, request.address))
        if request.address in self.away:
            raise OSError("connection refused")
        for each in json.loads(request.body or b"[]"):
            soon = time_text(time.time() + 60)
            self.known[request.address] = each["endsAt"] > soon
        return Answer(200, self.body, "")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(str(tmp_path / "bridge.db"), 3600)) as made:
        yield made


def poster_of(store: Store) -> Poster:
    return Poster("http://am", "am", store, 60, {}, BridgeMetrics("1", ["am"]))


def set_open(store: Store, at: float, *, is_open: bool) -> None:
    if is_open:
        job = store.submit(
            lambda made: tables.open_alert(made, "issue:1", ALERT, at, at)
        )
    else:
        job = store.submit(lambda made: tables.close(made, "issue:1", at, at, "over"))
    job.result(5)


def test_each_replica_is_told_though_another_one_is_away(
    network: Network, store: Store
) -> None:
    """What has ended counts as told only when each one knows."""
    poster = poster_of(store)
    set_open(store, time.time(), is_open=True)
    poster._post_all(is_due=True)
    assert network.known == {A: True, B: True}
    network.away = {A}
    set_open(store, time.time(), is_open=False)
    with pytest.raises(Refused, match=f"{A}: connection refused"):
        poster._post_all(is_due=False)
    assert network.known == {A: True, B: False}
    known = store.reader.alertmanagers()[poster.url]
    assert store.reader.behind(known.posted) == 1
    network.away = set()
    poster._post_all(is_due=False)
    assert network.known == {A: False, B: False}
    known = store.reader.alertmanagers()[poster.url]
    assert store.reader.behind(known.posted) == 0


def test_a_replica_that_is_away_delays_no_new_alert(
    network: Network, store: Store
) -> None:
    """And it is asked again in its time, not without a pause."""
    network.away = {A}
    poster = poster_of(store)
    poster.start()
    try:
        eventually(lambda: poster._failures == 0 or A in poster._away)
        for _ in range(4):  # by now, a back-off would last 8 s and more
            set_open(store, time.time(), is_open=True)
            poster.wake()
            eventually(lambda: network.known.get(B) is True)
            set_open(store, time.time(), is_open=False)
            poster.wake()
            eventually(lambda: network.known.get(B) is False)
    finally:
        network.away = set()
        poster.stop(10)
    assert network.known[A] is False


def test_an_end_is_told_for_a_while_longer(network: Network, store: Store) -> None:
    """A replica that had no address when the alert ended still hears of the end."""
    began = time.time()
    set_open(store, began - CLOSED_SECONDS, is_open=True)
    set_open(store, began - CLOSED_SECONDS + 30, is_open=False)
    poster = poster_of(store)
    poster._post_all(is_due=True)
    network.known.clear()
    poster._post_all(is_due=True)
    assert network.known == {A: False, B: False}
    network.asked.clear()
    poster._post_all(is_due=False)
    assert network.asked == []


def test_what_is_not_in_the_store_shares_the_request(
    network: Network, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a balancer that takes turns gives a replica always the same half.

    It is posted, too, while the store cannot be read.
    """
    poster = poster_of(store)
    poster.own = lambda: [canary.closed_row("canary:alive", "production", time.time())]
    set_open(store, time.time(), is_open=True)
    poster._post_all(is_due=True)
    assert len(network.asked) == len([A, B])

    def fail(*_: Any) -> list[Any]:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(store.reader, "to_post", fail)
    network.asked.clear()
    with pytest.raises(sqlite3.OperationalError):
        poster._post_all(is_due=True)
    assert len(network.asked) == len([A, B])


def test_an_end_is_not_told_for_ever(network: Network, store: Store) -> None:
    """It is told once, and then no more."""
    long_ago = time.time() - CLOSED_SECONDS - 60
    set_open(store, long_ago - 60, is_open=True)
    set_open(store, long_ago, is_open=False)
    poster = poster_of(store)
    poster._post_all(is_due=True)
    assert network.known == {A: False, B: False}
    network.asked.clear()
    poster._post_all(is_due=True)
    assert network.asked == []


def test_each_replica_is_asked_for_what_nobody_has_taken(network: Network) -> None:
    """And gets the copies of what it knows itself."""
    labels = {"alertname": "X", "severity": "critical"}
    network.body = json.dumps(
        [{"labels": labels, "startsAt": "2026-11-29T10:00:00Z"}]
    ).encode()
    metrics = BridgeMetrics("1", ["am"])
    escalation = escalate.Escalation("http://am", "am", 900, {}, metrics.duty)
    escalation._look()
    assert network.known == {A: True, B: True}
    assert escalation.raised == 1
    network.away, network.known = {A}, {}
    with pytest.raises(OSError, match=f"{A}: connection refused"):
        escalation._look()
    assert network.known == {B: True}


def test_a_name_with_several_addresses_has_several_replicas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But one address of each family is one Alertmanager, as that of localhost."""
    found: list[tuple[socket.AddressFamily, str]] = []

    def resolve(*_: Any, **__: Any) -> list[Any]:
        return [(family, 1, 6, "", (address, 9093)) for family, address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    v4, v6 = socket.AF_INET, socket.AF_INET6
    found[:] = [(v6, "::1"), (v4, "127.0.0.1")]
    assert alertmanager.addresses_of("http://localhost:9093") == [""]
    found[:] = [(v4, B), (v4, A), (v4, A)]
    assert alertmanager.addresses_of("http://am:9093") == [A, B]

    def fail(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert alertmanager.addresses_of("http://am:9093") == [""]
