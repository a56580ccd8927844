"""What a webhook says, and what of it may leave."""

import json
from typing import Any

import pytest

from agent.bridge import news
from agent.bridge.news import NotUnderstood
from lab import bridge as sentry


def read(resource: str, payload: Any) -> news.News | None:
    return news.read(resource, json.dumps(payload).encode())


def opened(resource: str, payload: Any) -> news.Alert:
    found = read(resource, payload)
    assert found is not None
    assert found.opens is not None
    return found.opens


def test_an_event_opens_the_alert_of_its_issue() -> None:
    """Its labels are what stays the same from event to event."""
    alert = opened("event_alert", sentry.event_alert())
    assert alert.labels == {
        "alertname": "SentryIssue",
        "environment": "production",
        "issue": "1117540176",
        "project": "lms",
        "severity": "critical",
        "source": "sentry",
    }
    assert alert.key == opened("event_alert", sentry.event_alert(rule="Another")).key
    assert alert.annotations["summary"] == (
        "ValueError in project lms in lms.enrol in submit"
    )


def test_nothing_personal_leaves() -> None:
    """The title, the message, the user, the request and foreign tags stay here."""
    body = sentry.event_alert(
        culprit="/users/ada@example.com", message="Ada's mark is 5", logger="ada"
    )
    sent = str(opened("event_alert", body))
    for personal in ("Ada", "ada@example.com", "10.1.2.3", "session", "mark"):
        assert personal not in sent
    rule = "Tell ada@example.com of errors"
    assert "ada@" not in str(opened("event_alert", sentry.event_alert(rule=rule)))
    link = (
        "https://user:word@sentry.io/organizations/x/issues/1/?email=ada@example.com#x"
    )
    alert = opened("event_alert", sentry.event_alert(web_url=link))
    assert alert.url == "https://sentry.io/organizations/x/issues/1/"


@pytest.mark.parametrize(
    "place",
    [
        "lms.enrol in submit",
        "lms.views.enrol",
        "app/components/list in onClick",
        "lms.enrol in <lambda>",
        "/students/{pk}/marks",
        "GET /api/v1/students/<int:student_id>/marks/",
        "/courses/:id",
    ],
)
def test_a_place_in_code_and_a_route_leave(place: str) -> None:
    """They are words of the program."""
    alert = opened("event_alert", sentry.event_alert(culprit=place))
    assert alert.annotations["culprit"] == place
    assert place in alert.annotations["summary"]


@pytest.mark.parametrize(
    "place",
    [
        "/students/ada/marks",
        "/students/{pk}/Ada",
        "GET /students/Ada Lovelace/marks 555-12-3456",
        "/students/ada@example.com/{pk}",
        "Ada Lovelace",
        "Ada",
        "lms.enrol in Ada Lovelace",
        "/",
    ],
)
def test_another_culprit_stays_here(place: str) -> None:
    """A path without a placeholder is what somebody asked for: it may name a person."""
    alert = opened("event_alert", sentry.event_alert(culprit=place))
    assert "culprit" not in alert.annotations
    assert alert.annotations["summary"] == "ValueError in project lms"


@pytest.mark.parametrize(
    "path", ["/users/ada@example.com/", "/10.1.2.3/1/", "/Ada%20Lovelace", "/a b"]
)
def test_a_link_with_an_odd_path_stays_here(path: str) -> None:
    alert = opened(
        "event_alert", sentry.event_alert(web_url=f"https://x.example{path}")
    )
    assert (alert.url, alert.annotations.get("url")) == ("", None)


def test_each_environment_has_an_alert_of_its_own() -> None:
    """Also those with odd names. What is personal in a name does not leave."""
    given = {
        "pre-prod": "pre-prod",
        "pre prod": "pre%20prod",
        "pre  prod": None,
        "pre%20prod": "pre%2520prod",
        "ada@example.com": None,
        "eve@example.com": None,
        "x" * 300: None,
        "\ud83d": None,
    }
    found = {}
    for name in given:
        body = sentry.event_alert(environment=name)
        found[name] = opened("event_alert", body).labels["environment"]
    assert len(set(found.values())) == len(given)
    for name, label in found.items():
        assert label == (given[name] or label)
        assert given[name] or label.startswith("hash-")


@pytest.mark.parametrize(
    ("level", "rule", "settings", "severity"),
    [
        ("fatal", "A rule", None, "critical"),
        ("error", "A rule", None, "critical"),
        ("warning", "A rule", None, "warning"),
        ("info", "A rule", None, "info"),
        ("sample", "A rule", None, "info"),
        ("error", "LMS [Warning] slow", None, "warning"),
        ("error", "LMS [warning]", [{"name": "severity", "value": "info"}], "info"),
        ("error", "A rule", [{"name": "severity", "value": "worst"}], "critical"),
        ("error", "A rule", "odd", "critical"),
        (7, None, [7], "critical"),
    ],
)
def test_the_severity_is_chosen_or_named_or_that_of_the_level(
    level: Any, rule: Any, settings: Any, severity: str
) -> None:
    """In this order. An odd value counts as none."""
    body = sentry.event_alert(rule=rule, level=level)
    if settings is not None:
        body["data"]["issue_alert"] = {"title": rule, "settings": settings}
    assert opened("event_alert", body).severity == severity


@pytest.mark.parametrize("action", ["resolved", "archived", "ignored"])
def test_an_issue_that_is_over_closes_its_alerts(action: str) -> None:
    assert read("issue", sentry.issue("5", action)) == news.News("issue:5")


@pytest.mark.parametrize("action", ["created", "assigned", "unresolved", "new", ""])
def test_another_change_of_an_issue_says_nothing(action: str) -> None:
    """A rule decides what is an alert: a new issue alone is none."""
    assert read("issue", sentry.issue("5", action)) is None


def test_a_metric_alert_has_one_severity_at_a_time() -> None:
    """And ends when Sentry says so."""
    critical = read("metric_alert", sentry.metric_alert())
    warning = read("metric_alert", sentry.metric_alert("warning"))
    assert critical is not None
    assert critical.opens is not None
    assert critical.opens.labels == {
        "alertname": "SentryMetricAlert",
        "project": "lms",
        "rule": "7",
        "severity": "critical",
        "source": "sentry",
    }
    assert critical.is_only
    assert warning is not None
    assert critical.subject == warning.subject == "metric:7"
    assert read("metric_alert", sentry.metric_alert("resolved")) == news.News(
        "metric:7"
    )
    assert read("metric_alert", sentry.metric_alert("open")) is None


@pytest.mark.parametrize("resource", ["installation", "comment", "seer", "", "a" * 500])
def test_another_resource_says_nothing(resource: str) -> None:
    assert read(resource, {"action": "created", "data": {}}) is None


BROKEN = {
    "no JSON": b"{",
    "no UTF-8": b'{"data": {"event": {"issue_id": "\xff"}}}',
    "deep": b"[" * 100_000,
    "deep in a field": b'{"data": {"event": {"issue_id": "1", "x": ' + b"[" * 100_000,
    "a list": b"[]",
    "a number": b"7",
    "nothing": b"",
    "no data": b'{"action": "resolved"}',
    "data is null": b'{"data": null}',
    "no issue": b'{"data": {"event": {}, "issue": {}, "metric_alert": {}}}',
    "an odd id": b'{"data": {"event": {"issue_id": "1 2"}, "issue": {"id": ""}}}',
    "an id of another type": b'{"data": {"event": {"issue_id": {}}, "issue": {"id": []}}}',
}


@pytest.mark.parametrize("resource", news.RESOURCES)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_what_is_not_understood_is_an_error(resource: str, body: bytes) -> None:
    with pytest.raises(NotUnderstood):
        news.read(resource, body)


ODD = [None, True, 7, 1.5, "", "x" * 100_000, "\x00\ud83d", [], [[]], {}, {"type": {}}]


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_an_odd_detail_costs_no_alert(value: Any) -> None:
    """Whatever stands in every other field of the event, the alert has its identity."""
    body = sentry.event_alert()
    event = body["data"]["event"]
    body["data"]["event"] = dict.fromkeys(event, value) | {"issue_id": "5"}
    body["data"]["triggered_rule"] = value
    alert = opened("event_alert", body)
    assert alert.labels["issue"] == "5"
    assert all(isinstance(each, str) for each in alert.annotations.values())
    assert all(len(each) < 600 for each in alert.annotations.values())


def test_a_field_that_nobody_knows_changes_nothing() -> None:
    """At any place: the same labels, the same annotations."""
    bodies = {
        "event_alert": sentry.event_alert(event="e" * 32),
        "metric_alert": sentry.metric_alert(),
        "issue": sentry.issue(),
    }
    for resource, body in bodies.items():
        known = read(resource, body)
        assert read(resource, _with_more(body)) == known is not None


def _with_more(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_more(each) for each in value]
    if isinstance(value, dict):
        more = {name: _with_more(each) for name, each in value.items()}
        return more | {"of_2031": {"deep": [1, None, "text"]}}
    return value
