"""What the store holds after webhooks, in whatever order they come."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.bridge import tables
from agent.bridge.news import Alert, News
from agent.bridge.reading import FIRST, PAGE
from agent.bridge.store import Full, Store
from agent.bridge.tables import StoreError, Webhook

CRITICAL = Alert({"issue": "1", "severity": "critical"}, {"summary": "a"})
WARNING = Alert({"issue": "1", "severity": "warning"}, {"summary": "a"})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(str(tmp_path / "bridge.db"), 3600)
    yield opened
    opened.close()


_number = iter(range(10**6))


def take(store: Store, told: float, news: News | None, name: str = "") -> str:
    request_id = name or f"request-{next(_number)}"
    return store.take(Webhook(request_id, "event_alert", told, news)).result(10)


def opening(alert: Alert = CRITICAL, *, is_only: bool = False) -> News:
    return News("issue:1", alert, is_only)


OVER = News("issue:1")


@pytest.mark.slow
def test_many_webhooks_of_one_issue_are_one_alert(store: Store) -> None:
    changes = []
    store.changed = lambda: changes.append(1)
    results = [take(store, 10, opening()) for _ in range(200)]
    assert results == ["opened", *["renewed"] * 199]
    (row,) = store.reader.open_alerts()
    assert row.webhooks == 200
    assert changes == [1]


def test_a_request_counts_once(store: Store) -> None:
    """By its Request-ID; the body of an event counts once whatever its Request-ID is."""
    assert take(store, 10, opening(), "a") == "opened"
    assert take(store, 11, OVER, "a") == "duplicate"
    event = Webhook("b", "event_alert", 10, opening(), "digest")
    assert store.take(event).result(10) == "renewed"
    again = event._replace(request_id="c")
    assert store.take(again).result(10) == "duplicate"
    assert len(store.reader.open_alerts()) == 1


def test_an_end_that_comes_before_its_beginning_holds(store: Store) -> None:
    """Webhooks come in any order: Sentry's own time decides."""
    assert take(store, 20, OVER) == "ignored"
    assert take(store, 10, opening()) == "older"
    assert not store.reader.open_alerts()
    assert take(store, 20, opening()) == "opened"
    assert take(store, 15, OVER) == "older"
    assert take(store, 20, OVER) == "closed"
    assert take(store, 21, opening()) == "opened"
    assert len(store.reader.open_alerts()) == 1


def test_an_end_closes_every_alert_of_its_subject(store: Store) -> None:
    take(store, 10, opening())
    take(store, 10, opening(WARNING))
    assert len(store.reader.open_alerts()) == 2
    assert take(store, 11, OVER) == "closed"
    assert not store.reader.open_alerts()
    assert {row.why for row in store.reader.changes(0)} == {"resolved in Sentry"}


def test_a_metric_alert_is_critical_or_warning(store: Store) -> None:
    take(store, 10, opening(WARNING, is_only=True))
    take(store, 11, opening(CRITICAL, is_only=True))
    assert [row.alert for row in store.reader.open_alerts()] == [CRITICAL]
    assert take(store, 12, opening(WARNING, is_only=True)) == "opened"
    assert [row.alert for row in store.reader.open_alerts()] == [WARNING]


def test_a_late_webhook_of_a_metric_alert_opens_no_second_one(store: Store) -> None:
    """Both would stay open: Sentry ends only the newest."""
    take(store, 20, opening(WARNING, is_only=True))
    assert take(store, 10, opening(CRITICAL, is_only=True)) == "older"
    assert [row.alert for row in store.reader.open_alerts()] == [WARNING]
    assert take(store, 20, opening(CRITICAL, is_only=True)) == "opened"
    assert [row.alert for row in store.reader.open_alerts()] == [CRITICAL]


def test_what_each_alertmanager_knows_is_kept(store: Store) -> None:
    """A change that one has not taken is found, whatever another has taken."""
    take(store, 10, opening())
    (row,) = store.reader.changes(0)
    store.submit(lambda c: tables.posted(c, "http://a", row.changed, 5.0)).result(10)
    store.submit(lambda c: tables.not_posted(c, "http://b", "refused", 6.0)).result(10)
    known = store.reader.alertmanagers()
    assert not store.reader.changes(known["http://a"].posted)
    assert store.reader.changes(known["http://b"].posted) == [row]
    assert (known["http://b"].failure, known["http://b"].reason) == (6.0, "refused")
    take(store, 11, OVER)
    assert not store.reader.to_post(store.reader.changes(0)[0].changed)
    assert [each.closed for each in store.reader.to_post(row.changed)] != [None]


@pytest.mark.slow
def test_a_storm_is_read_page_by_page(store: Store) -> None:
    """Each open alert once; those that were closed only by who does not know it."""
    number, now = 2 * PAGE + 7, time.time()

    def open_all(connection: sqlite3.Connection) -> int:
        for each in range(number):
            alert = Alert({"issue": f"{each}", "severity": "info"}, {})
            tables.open_alert(connection, f"issue:{each}", alert, 10, now)
        return tables.close(connection, "issue:0", 11, now, "over") == "closed"

    assert store.submit(open_all).result(60)
    reader = store.reader
    last = reader.changes(0, (number - 1, "")).pop().changed
    for change, expected in ((0, number), (last, number - 1)):
        place, found = FIRST, list[str]()
        while rows := reader.to_post(change, place):
            assert len(rows) <= PAGE
            place = rows[-1].place
            found += [row.subject for row in rows]
        assert len(found) == len(set(found)) == expected
    assert reader.open_number() == {"info": number - 1}
    assert reader.behind(last - 1) == 1
    assert [name for name, _ in reader.longest_ago("issue", 2)] != []


def test_what_was_stored_is_there_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "bridge.db")
    first = Store(path, 3600)
    take(first, 10, opening(), "a")
    first.close()
    second = Store(path, 3600)
    assert len(second.reader.open_alerts()) == 1
    assert take(second, 11, OVER, "a") == "duplicate"
    second.close()


def test_what_is_old_is_forgotten(store: Store) -> None:
    """A day after its end. An issue of which nothing comes is closed, and said to be."""
    take(store, 10, opening())
    now = time.time()
    metric = News("metric:7", WARNING, is_only=True)
    take(store, 10, metric)

    def later(connection: sqlite3.Connection) -> int:
        return tables.close_silent(connection, "issue", now + 10, now + 10)

    assert store.submit(later).result(10) == 1
    assert [row.subject for row in store.reader.open_alerts()] == ["metric:7"]
    store.submit(lambda c: tables.tidy(c, now + 2 * tables.KEPT_SECONDS)).result(10)
    assert [row.subject for row in store.reader.changes(0)] == ["metric:7"]


@pytest.mark.parametrize(("days", "left"), [(2, ["metric:7"]), (8, [])])
def test_a_metric_alert_without_news_is_closed_after_a_week(
    tmp_path: Path, days: int, left: list[str]
) -> None:
    """Its end may be lost. Sentry says nothing of it while it stays open."""
    path = str(tmp_path / "bridge.db")
    first = Store(path, 3600)
    take(first, 10, News("metric:7", WARNING, is_only=True))
    take(first, 10, opening())
    first.submit(
        lambda c: c.execute("UPDATE alerts SET renewed = renewed - ?", (days * 86400,))
    ).result(10)
    first.close()
    second = Store(path, 3600)  # a store is tidied after its first transaction
    take(second, 10, None)
    second.close()
    assert [row.subject for row in second.reader.open_alerts()] == left


def test_a_link_to_a_store_has_the_lock_of_that_store(tmp_path: Path) -> None:
    """Two bridges would post for one another."""
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "bridge.db")
    Store(str(link), 3600).close()
    assert [each.name for each in tmp_path.glob("*.lock")] == ["bridge.db.lock"]


def test_a_store_of_another_user_is_an_error_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`chmod` is replaced because a test has one user only."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    path = str(tmp_path / "bridge.db")
    with monkeypatch.context() as patched:
        patched.setattr("os.chmod", refuse)
        with pytest.raises(StoreError, match="not permitted") as caught:
            Store(path, 3600)
    assert "access rights" in caught.value.hint
    Store(path, 3600).close()


def test_each_transaction_is_on_the_disk_before_it_is_answered_for(
    store: Store,
) -> None:
    """SQLite then calls fsync at each commit."""

    def pragma(name: str) -> object:
        read = store.submit(lambda c: c.execute(f"PRAGMA {name}").fetchone())
        return read.result(10)[0]

    assert (pragma("journal_mode"), pragma("synchronous")) == ("wal", 2)


def test_one_bad_job_costs_no_other_one_its_place(store: Store) -> None:
    """Those that wait share a transaction; when it fails, each has one of its own."""
    store.submit(lambda _: time.sleep(0.2))
    good = store.take(Webhook("a", "event_alert", 10, opening()))
    bad = store.submit(lambda c: c.execute("INSERT INTO nowhere VALUES (1)"))
    other = store.take(Webhook("b", "event_alert", 10, opening(WARNING)))
    assert good.result(10) == other.result(10) == "opened"
    with pytest.raises(StoreError, match="cannot write the store"):
        bad.result(10)
    assert take(store, 11, OVER) == "closed"
    assert store.reason == ""


def test_too_much_is_refused_at_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "bridge.db"), 3600, limit=2)
    slow = store.submit(lambda _: time.sleep(0.5))
    for each in ("a", "b"):
        with contextlib.suppress(Full):
            store.take(Webhook(each, "event_alert", 10, opening()))
    with pytest.raises(Full):
        store.take(Webhook("c", "event_alert", 10, opening()))
    slow.result(10)
    store.close()


def test_a_strange_file_is_refused(tmp_path: Path) -> None:
    """Each says what to do."""
    other = tmp_path / "other.db"
    other.write_bytes(b"this is no database, but long enough to be one" * 100)
    with pytest.raises(StoreError, match="cannot open the store"):
        Store(str(other), 3600)
    newer = tmp_path / "newer.db"
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="newer bridge"):
        Store(str(newer), 3600)
    with pytest.raises(StoreError, match=r"cannot open the store"):
        Store(str(other / "below" / "bridge.db"), 3600)
