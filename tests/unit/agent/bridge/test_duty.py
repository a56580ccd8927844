"""Who is called when nobody acts, and what is known of canaries."""

import email.utils
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.bridge import alertmanager, canary, escalate, news, post, tables, trips
from agent.bridge.canary import event_of
from agent.bridge.duty import CanaryState, EscalationState
from agent.bridge.escalate import COPIES_LIMIT, Alert, decide
from agent.bridge.metrics import BridgeMetrics
from agent.bridge.page import text_of
from agent.bridge.status import AlertmanagerState, BridgeStatus, OpenAlert, Resource
from agent.bridge.store import Store
from agent.bridge.tables import Webhook
from agent.bridge.trips import ALIVE
from agent.web import Answer, Request
from lab import bridge as sentry
from lab.ledger import parse_envelope
from resentry.formats import time_text

NOW = 1_800_000_000.0
LIMIT = 900.0


def alert(issue: int = 1, age: float = LIMIT, **more: str) -> Alert:
    labels = {"alertname": "SentryIssue", "severity": "critical", "issue": str(issue)}
    return Alert({**labels, **more}, {}, time_text(NOW - age))


def test_an_alert_is_escalated_when_its_time_is_over() -> None:
    """Not before; and never a copy of a copy."""
    old, new, copy = alert(1), alert(2, LIMIT - 1), alert(1, escalation="l2")
    assert decide([new, old], NOW, LIMIT) == ([old], [], 0)
    assert decide([new, old, copy], NOW, LIMIT) == ([old], [], 0)


def test_a_copy_is_over_when_its_alert_is() -> None:
    """Because it ended, or was silenced: then Alertmanager does not tell it."""
    copy, other = alert(1, escalation="l2"), alert(2, escalation="somebody-else-s")
    assert decide([copy, other], NOW, LIMIT) == ([], [copy], 0)


def test_a_storm_keeps_no_other_alert_from_the_second_level() -> None:
    """The copies of each group are bounded, and none of an alert that is still open ends."""
    storm = [alert(number, 2 * LIMIT + number) for number in range(1000)]
    copies = [alert(number, escalation="l2") for number in range(1000)]
    newer, other = alert(2000), alert(1, project="another")
    due, over, cut = decide([*storm, *copies, newer, other], NOW, LIMIT)
    assert len(due) == COPIES_LIMIT + 1
    assert newer in due
    assert other in due
    assert (over, cut) == ([], 1002 - len(due))


def test_an_alert_without_a_time_that_can_be_read_begins_now() -> None:
    """Its time can't be over, and it hides no other alert."""
    odd = Alert({"severity": "critical"}, {}, "yesterday")
    assert decide([odd, alert(1)], NOW, LIMIT) == ([alert(1)], [], 0)


def test_alertmanager_is_asked_for_what_nobody_has_taken() -> None:
    """What is silenced or inhibited is not told; what is new since a start is."""
    for part in ("silenced=false", "inhibited=false", "unprocessed=true"):
        assert part in escalate._QUERY


def canary_of(tags: dict[str, str]) -> news.News | None:
    payload = sentry.event_alert(tags=[[*pair] for pair in tags.items()])
    return news.read("event_alert", json.dumps(payload).encode())


def test_a_canary_is_known_by_its_tag_and_opens_nothing() -> None:
    """The tag that the bridge has sent comes back in the webhook."""
    _, (item,) = parse_envelope(event_of("production", NOW))
    event: dict[str, Any] = json.loads(item.payload)
    assert (item.kind, event["level"]) == ("event", "info")
    assert event["environment"] == "production"
    assert event["tags"]["resentry"] == "canary"  # for the rule in Sentry
    found = canary_of({"environment": "production", **event["tags"]})
    assert found == news.News("canary", canary=NOW)
    with pytest.raises(news.NotUnderstood, match="canary"):
        canary_of({news.CANARY_TAG: "soon"})


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:")) as made:
        tables.prepare(made)
        yield made


def known(connection: sqlite3.Connection) -> trips.Trips:
    return trips.trips_of(dict(connection.execute("SELECT name, value FROM facts")))


def test_the_newest_canary_counts_once(connection: sqlite3.Connection) -> None:
    """One that comes again, late, or from the future tells nothing new."""

    def back(sent_at: float, now: float) -> str:
        webhook = Webhook(
            f"{now}", "event_alert", now, news.News("canary", canary=sent_at)
        )
        return tables.take(connection, webhook, now)

    assert known(connection) == trips.Trips()
    trips.sent(connection, NOW)
    trips.sent(connection, NOW + 3600)
    assert back(NOW + 3600, NOW + 3602) == "canary"
    assert back(NOW + 3600, NOW + 3700) == "ignored"
    assert back(NOW, NOW + 3701) == "ignored"
    assert back(NOW + 10_000, NOW + 3702) == "ignored"
    assert known(connection) == trips.Trips(NOW, NOW + 3600, NOW + 3602, 2.0)


def test_a_restart_does_not_begin_the_time_of_a_canary_anew(
    connection: sqlite3.Connection,
) -> None:
    """Else a bridge that restarts often would never miss one."""
    for now in (NOW, NOW + 100, NOW + 200):
        trips.begun(connection, now)
    assert known(connection).since == NOW


WELL = BridgeStatus(
    version="0.1.0",
    open=1,
    alerts=[
        OpenAlert(
            subject="issue:1",
            labels={"alertname": "SentryIssue", "issue": "1", "severity": "critical"},
            summary="ValueError in project lms",
            opened="2026-11-29T10:00:00Z",
            renewed="2026-11-29T10:00:00Z",
            webhooks=1,
        )
    ],
    webhooks={"issue": Resource(newest="2026-11-29T10:00:00Z", number=7)},
    alertmanagers=[AlertmanagerState(name="am", success=None, reason="", behind=0)],
    escalations=[],
    canary=None,
    wrong_signatures=0,
    wrong_signature_at=None,
    waiting=0,
    store="",
)


def test_the_page_says_what_is_open_and_what_is_wrong() -> None:
    """What does not work is in capital letters, and says why."""
    page = text_of(WELL)
    assert (
        "critical  SentryIssue issue=1, since 2026-11-29T10:00:00Z: ValueError" in page
    )
    assert not re.search("FAILS|MISSING|REFUSED", page)
    bad = msgspec.structs.replace(
        WELL,
        store="database is locked",
        alertmanagers=[
            AlertmanagerState(name="am", success=None, reason="HTTP 500", behind=3)
        ],
        escalations=[EscalationState(name="am", escalated=0, reason="HTTP 405")],
        canary=CanaryState(
            sent=None, arrived=None, seconds=0.0, missing=True, reason="HTTP 403"
        ),
        wrong_signatures=2,
        wrong_signature_at="2026-11-29T11:00:00Z",
    )
    page = text_of(bad)
    for said in (
        "FAILS: database is locked",
        "FAILS: am: HTTP 500; 3 changes wait",
        "FAILS: am: HTTP 405",
        "MISSING: HTTP 403; none has ever come back",
        "REFUSED: 2 with a wrong signature",
        "resentry-agent doctor --area bridge",
    ):
        assert said in page


@pytest.mark.parametrize("behind", [-360.0, 0.0, 360.0, 86_400.0])
def test_what_is_posted_ends_by_the_clock_of_alertmanager(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, behind: float
) -> None:
    """Also if our clock is wrong: then a copy would be over before it is posted."""
    theirs = NOW
    posted = list[dict[str, Any]]()
    date = email.utils.formatdate(theirs, usegmt=True)
    open_alerts = msgspec.json.encode([alert(1, LIMIT), alert(2, 1.0, escalation="l2")])

    def answer(request: Request, *_: object, **__: object) -> Answer:
        posted.extend(json.loads(request.body or b"[]"))
        return Answer(200, open_alerts, date)

    class Clock:
        monotonic, time = time.monotonic, staticmethod(lambda: theirs - behind)

    for module in (escalate, post, alertmanager):
        monkeypatch.setattr(module, "time", Clock)
    for module in (escalate, post):
        monkeypatch.setattr(module, "ask", answer)
    metrics = BridgeMetrics("1", ["am"])
    escalate.Escalation("http://am", "am", LIMIT, {}, metrics.duty)._look()
    copy, over = posted
    assert copy["endsAt"] == time_text(theirs + escalate.HOLD_SECONDS)
    assert over["endsAt"] == time_text(theirs)

    posted.clear()
    with closing(Store(str(tmp_path / "bridge.db"), 3600)) as store:
        poster = post.Poster("http://am", "am", store, 86_400.0, {}, metrics)
    ours = theirs - behind
    row = canary.closed_row(ALIVE, "production", ours)
    poster._send([row])  # tells the clock
    posted.clear()
    poster._send([row, row._replace(closed=None), row._replace(closed=ours + 9)])
    ended, open_, odd = posted
    assert ended["endsAt"] == time_text(theirs)
    assert open_["startsAt"] == time_text(theirs)
    assert open_["endsAt"] == time_text(theirs + 3 * 86_400)
    assert odd["endsAt"] == time_text(theirs)
