"""What the bridge makes of the answers of Sentry's API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from agent.bridge import fill
from agent.bridge.fill import ABSENT_ROUNDS, Filler
from agent.bridge.metrics import BridgeMetrics
from agent.bridge.news import Alert, News
from agent.bridge.store import Store
from agent.bridge.tables import Webhook
from agent.sentry_api.client import foreign
from agent.sentry_api.errors import SentryApiAbsent, SentryApiDown, SentryApiGone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.settings import Settings


class Api:
    """Answers for each issue what it was told to: a status, or an error."""

    def __init__(self) -> None:
        self.answers: dict[str, str | Exception] = {}
        self.asked: list[str] = []
        self.listed: list[dict[str, Any]] = []

    def ask(self, *path: str) -> dict[str, Any]:
        number = path[-1]
        self.asked.append(number)
        answer = self.answers.get(number, SentryApiAbsent("no such issues"))
        if isinstance(answer, Exception):
            raise answer
        return {"id": number, "status": answer}

    def all(self, *_: str, **__: Any) -> list[dict[str, Any]]:
        return self.listed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(str(tmp_path / "bridge.db"), 3600)
    yield opened
    opened.close()


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def ask(
    store: Store,
    api: Api,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], None]:
    """Return a function that asks the API once for everything."""
    monkeypatch.setattr(fill, "open_api", lambda *_: api)
    return Filler(settings(), store, BridgeMetrics("1"))._fill


def take(store: Store, number: str, told: float, *, is_over: bool = False) -> str:
    alert = Alert({"issue": number, "severity": "critical"}, {})
    news = News(f"issue:{number}", None if is_over else alert)
    name = f"{number} {told} {is_over}"
    return store.take(Webhook(name, "event_alert", told, news)).result(10)


def still_open(store: Store) -> set[str]:
    return {row.alert.labels["issue"] for row in store.reader.open_alerts()}


def test_the_clock_of_this_machine_makes_no_webhook_an_old_one(
    store: Store, api: Api, ask: Callable[[], None]
) -> None:
    """An end that the API tells ends what came before it, by Sentry's clock."""
    then = time.time() - 600  # Sentry's clock is behind
    take(store, "1", then)
    api.answers["1"] = "resolved"
    ask()
    assert still_open(store) == set()
    assert take(store, "1", then + 1) == "opened"


def test_an_end_closes_what_the_api_has_told(
    store: Store, api: Api, ask: Callable[[], None]
) -> None:
    """Whatever the clock of this machine said then."""
    api.listed = [{"id": "7", "status": "unresolved", "level": "error"}]
    ask()
    assert still_open(store) == {"7"}
    assert take(store, "7", time.time() - 600, is_over=True) == "closed"


def test_deleted_issues_keep_no_other_one_waiting(
    store: Store, api: Api, ask: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked for last, and are closed after some rounds."""
    monkeypatch.setattr(fill, "ASKED_LIMIT", 3)
    for number in ("1", "2", "3", "4"):
        take(store, number, time.time())
    api.answers["4"] = "unresolved"
    ask()
    assert "4" not in api.asked
    for _ in range(ABSENT_ROUNDS - 1):
        assert {"1", "2"} <= still_open(store)
        api.asked.clear()
        ask()
        assert api.asked[0] == "4"
    assert still_open(store) & {"1", "2"} == set()
    assert "4" in still_open(store)


@pytest.mark.parametrize(
    "error", [SentryApiGone("ended"), SentryApiDown("not now"), foreign()]
)
def test_an_error_of_the_api_says_nothing_of_an_issue(
    store: Store, api: Api, ask: Callable[[], None], error: Exception
) -> None:
    """It is told, and the other issues come first next time."""
    take(store, "1", time.time())
    take(store, "2", time.time())
    api.answers |= {"1": error, "2": "resolved"}
    for _ in range(ABSENT_ROUNDS + 1):
        with pytest.raises(type(error)):
            ask()
    assert api.asked[:3] == ["1", "2", "1"]
    assert still_open(store) == {"1"}


def test_an_api_that_knows_nothing_deletes_nothing(
    store: Store,
    api: Api,
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An odd address or organization has no issue at all."""
    monkeypatch.setattr(fill, "open_api", lambda *_: api)
    given = settings(bridge_fill_query="")
    filler = Filler(given, store, BridgeMetrics("1"))
    take(store, "1", time.time())
    for _ in range(ABSENT_ROUNDS + 1):
        filler._fill()
    assert still_open(store) == {"1"}
