"""The agent's own events: bounded in number, and one check-in a minute."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.errors import SettingsError, SourceDown
from agent.observe import own
from agent.observe.logs import Tap
from agent.observe.own import BURST, Budget, OwnEvents
from agent.settings import Settings
from resentry.contract import Snapshot

GOOD = Outcome.unchanged(Snapshot({}), ())
BAD = Outcome.kept(SourceDown("Vault is sealed"), None)


def after(outcome: Outcome) -> Passes:
    return Passes(0.0).after(outcome, Moment(1.0, 1.0), 0.2)


@pytest.fixture
def check_ins(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be sent to the monitor."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(own, "capture_checkin", lambda **fields: sent.append(fields))
    return sent


def test_a_monitor_hears_of_each_change_and_of_one_pass_a_minute(
    check_ins: list[dict[str, Any]], settings: Callable[..., Settings]
) -> None:
    """However often the agent polls."""
    events = OwnEvents(settings(cron_monitor="resentry", poll_seconds=90.0), "1.2.3")
    for outcome in (GOOD, GOOD, GOOD, BAD, BAD, GOOD):
        events.passed(after(outcome))
    assert [sent["status"] for sent in check_ins] == ["ok", "error", "ok"]
    first = check_ins[0]
    assert (first["monitor_slug"], first["duration"]) == ("resentry", 0.2)
    assert first["monitor_config"]["schedule"]["value"] == 2


def test_without_a_monitor_nobody_checks_in(
    check_ins: list[dict[str, Any]], settings: Callable[..., Settings]
) -> None:
    """It is off by default."""
    events = OwnEvents(settings(report_errors=True), "1.2.3")
    events.passed(after(GOOD))
    assert check_ins == []


@pytest.mark.parametrize(
    ("obstacle", "hint"),
    [
        ("agent/own-receipts", "remove the file that is there"),
        ("agent", "in the place of its parent directory"),
    ],
)
def test_a_file_in_the_place_of_the_receipts_is_named(
    settings: Callable[..., Settings], obstacle: str, hint: str
) -> None:
    """Room on the volume would not help."""
    made = settings(report_errors=True)
    path = Path(made.dir, obstacle)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(SettingsError) as raised:
        OwnEvents(made, "1.2.3").start()
    assert f"{made.dir}/agent/own-receipts" in raised.value.what
    assert hint in raised.value.hint


def test_an_event_shows_no_secret_without_a_form(
    settings: Callable[..., Settings],
) -> None:
    """An exception's text may hold anything. The event's own ids stay."""
    key, uuid = "c0ffee00" * 4, "12345678-1234-1234-1234-123456789abc"
    caught = [{"type": "E", "value": f"no {key}"}, {"type": "E", "value": uuid}, {}]
    event = {"event_id": key, "exception": {"values": caught}}
    finish = OwnEvents(settings(report_errors=True), "1.2.3")._finished
    finished = finish(event, {})
    assert finished["event_id"] == key
    assert [each["value"] for each in finished["exception"]["values"]] == [
        "no …",
        "…",
        "",
    ]
    assert finish({"exception": None}, {})["exception"] is None


def test_the_number_of_events_is_bounded() -> None:
    """A loop of errors takes no quota of the application."""
    budget = Budget()
    assert sum(budget.spend() for _ in range(1000)) == BURST


def test_a_report_that_fails_loses_no_line() -> None:
    """And lines below error are nobody's business."""
    tap, taken = Tap(), list[object]()

    def take(event: object) -> None:
        taken.append(event)
        raise LookupError

    tap.take = take
    for method in ("debug", "info", "warning", "error", "critical"):
        assert tap(None, method, {"event": method}) == {"event": method}
    assert taken == [{"event": "error"}, {"event": "critical"}]


@pytest.mark.parametrize("slug", ["a b", "A", "x" * 51, "a/b"])
def test_a_monitor_has_a_name_that_sentry_takes(
    settings: Callable[..., Settings], slug: str
) -> None:
    """Any other is an error of the setting."""
    with pytest.raises(Exception, match="cron"):
        settings(cron_monitor=slug)
