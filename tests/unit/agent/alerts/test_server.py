"""Rules of a file on a server: the stand-in is held to Sentry's published description."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from agent.alerts.compare import alert_fields
from agent.alerts.plan import Change, plan
from agent.alerts.rule_file import IssueRule, RuleFile, read
from agent.alerts.server import SUBJECT, Server
from agent.bridge import news as bridge
from agent.errors import SettingsError, WishRefused
from agent.sentry_api.client import SentryApi as Client
from agent.sentry_api.errors import (
    SentryApiAbsent,
    SentryApiDenied,
    SentryApiDown,
    SentryApiError,
    SentryApiGone,
)
from lab.paths import REPOSITORY
from lab.sentry_api import Fault, SentryApi

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.server

EXAMPLE = REPOSITORY / "examples" / "lms" / "alerts.toml"
RULES = read(str(EXAMPLE))
CRITICAL = "[resentry lms] [critical] unhandled exceptions"
LATENCY = "[resentry lms] [warning] latency over 2 s"


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org", scopes=("alerts:write", "org:read")) as api:
        for number, slug in enumerate(("shop", "lms"), 41):
            api.project(slug, number)
            api.alerts.add_project(number)
        api.alerts.apps = {"other": 7, "resentry-bridge": 42}
        yield api
        assert api.broken == []


@pytest.fixture
def server(api: SentryApi) -> Server:
    return Server(Client(api.url, api.token, SUBJECT), "school", "lms")


def changes(server: Server, rules: RuleFile = RULES) -> list[Change]:
    return plan(rules, server.held(), server.app(rules.notify))


def apply(server: Server, rules: RuleFile = RULES) -> None:
    held, app = server.held(), server.app(rules.notify)
    changed = list(server.change(rules, app, held, plan(rules, held, app)))
    assert changed == plan(rules, held, app)


def without(rules: RuleFile, name: str) -> RuleFile:
    metrics = tuple(rule for rule in rules.metrics if rule.name not in name)
    return msgspec.structs.replace(rules, metrics=metrics)


def test_what_was_applied_differs_in_nothing(server: Server, api: SentryApi) -> None:
    """Ids, names, order and the form of numbers come from the server, and do not count."""
    assert [(each.verb, each.kind) for each in changes(server)] == [
        *[("create", "monitor")] * 3,
        *[("create", "alert")] * 4,
    ]
    apply(server)
    assert changes(server) == []
    asked = len(api.asked)
    apply(server)
    assert {method for method, _, _ in api.asked[asked:]} == {"GET"}
    errors, *_ = [m for m in api.alerts.monitors if m["projectId"] == "42"]
    (alert,) = [a for a in api.alerts.alerts if a["name"] == CRITICAL]
    assert alert["detectorIds"] == [errors["id"]]
    assert len(api.alerts.monitors) == 4 + 3


DRIFT: list[tuple[str, Any, str]] = [
    ("enabled", False, "on: false -> true"),
    ("environment", "staging", 'environment: "staging" -> "production"'),
    ("environment", None, 'environment: "" -> "production"'),
    ("config", {"frequency": 30}, "minutes: 30 -> 5"),
    ("detectorIds", [], "monitors: + the project's errors"),
    ("actionFilters", [], "filters and actions: + if all of"),
    ("triggers", None, "when: + any-short of first_seen_event true"),
]


@pytest.mark.parametrize(("field", "value", "expected"), DRIFT)
def test_a_change_on_the_page_is_drift(
    server: Server, api: SentryApi, field: str, value: Any, expected: str
) -> None:
    """It is named, and taken back; nothing else is touched."""
    apply(server)
    (alert,) = [a for a in api.alerts.alerts if a["name"] == CRITICAL]
    alert[field] = value
    (change,) = changes(server)
    assert (change.verb, change.kind, change.id) == ("change", "alert", alert["id"])
    assert any(detail.startswith(expected) for detail in change.details), change
    asked = len(api.asked)
    apply(server)
    assert [method for method, _, _ in api.asked[asked:] if method != "GET"] == ["PUT"]
    assert changes(server) == []


def test_each_part_of_a_monitor_counts(server: Server, api: SentryApi) -> None:
    """Its query, its bounds, and a second action of its alert."""
    apply(server)
    (monitor,) = [m for m in api.alerts.monitors if m["name"] == LATENCY]
    query = monitor["dataSources"][0]["queryObj"]["snubaQuery"]
    query |= {"query": "", "timeWindow": 60, "extrapolationMode": None}
    monitor["conditionGroup"]["conditions"][0]["comparison"] = 3000
    (alert,) = [a for a in api.alerts.alerts if a["name"] == LATENCY]
    actions = alert["actionFilters"][0]["actions"]
    actions[0]["status"] = "disabled"
    actions.append({"id": "1", "type": "email", "config": {"targetIdentifier": "9"}})
    of_monitor, of_alert = changes(server)
    assert of_monitor.details == (
        "conditions: - any of lte 3000 gives 0",
        "conditions: + any of lte 2000 gives 0",
        'query: "" -> "is_transaction:true"',
        "window in seconds: 60 -> 600",
    )
    assert of_alert.details == (
        "filters and actions: - do email 9; sentry_app 42, disabled",
        "filters and actions: + do sentry_app 42",
    )


@pytest.mark.parametrize(
    ("place", "field", "value", "expected"),
    [
        ("config", "targetType", "user", "do sentry_app user 42"),
        ("", "integrationId", "9", "do sentry_app 42 by integration 9"),
    ],
)
def test_whom_an_action_calls_counts(
    server: Server, api: SentryApi, place: str, field: str, value: str, expected: str
) -> None:
    """Each field that sends it elsewhere."""
    apply(server)
    (alert,) = [a for a in api.alerts.alerts if a["name"] == LATENCY]
    action = alert["actionFilters"][0]["actions"][0]
    (action[place] if place else action)[field] = value
    (change,) = changes(server)
    assert f"filters and actions: - {expected}" in change.details


def test_what_does_not_measure_is_drift(server: Server, api: SentryApi) -> None:
    """A subscription that is off, a bound that compares; an error monitor that is off."""
    apply(server)
    (monitor,) = [m for m in api.alerts.monitors if m["name"] == LATENCY]
    monitor["dataSources"][0]["queryObj"]["status"] = 1
    monitor["config"]["comparisonDelta"] = 3600
    (change,) = changes(server)
    assert change.details == (
        "compared with seconds ago: 3600 -> nothing",
        "measuring: 1 -> 0",
    )
    errors, *_ = [m for m in api.alerts.monitors if m["projectId"] == "42"]
    errors["enabled"] = False
    with pytest.raises(WishRefused, match="error monitor is switched off"):
        changes(server)


def test_an_alert_of_another_project_is_not_taken(
    server: Server, api: SentryApi
) -> None:
    """Alerts are the organization's, so two projects may use one name."""
    apply(server)
    before = [dict(each) for each in api.alerts.alerts]
    other = Server(Client(api.url, api.token, SUBJECT), "school", "shop")
    with pytest.raises(WishRefused, match="watches another project"):
        changes(other)
    assert api.alerts.alerts == before
    apply(other, msgspec.structs.replace(RULES, name="shop"))
    assert changes(server) == []


def test_what_is_not_ours_is_not_touched(server: Server, api: SentryApi) -> None:
    """Of another service, of people, and of another project."""
    other = msgspec.structs.replace(RULES, name="lms-2")
    apply(server, other)
    by_hand = api.alerts.alerts[0] | {"id": "5", "name": "unhandled exceptions"}
    api.alerts.alerts.append(by_hand)
    before = [dict(each) for each in (*api.alerts.alerts, *api.alerts.monitors)]
    apply(server)
    after = [*api.alerts.alerts, *api.alerts.monitors]
    assert all(each in after for each in before)
    assert changes(server, other) == []


def test_what_the_file_has_no_more_is_deleted(server: Server, api: SentryApi) -> None:
    """The alert first: it refers to the monitor. What is gone already is no error."""
    apply(server)
    fewer = without(RULES, LATENCY)
    gone = changes(server, fewer)
    assert [(each.verb, each.kind) for each in gone] == [
        ("delete", "alert"),
        ("delete", "monitor"),
    ]
    held = server.held()
    for _ in range(2):
        assert list(server.change(fewer, "42", held, gone)) == gone
    assert changes(server, fewer) == []
    assert LATENCY not in {each["name"] for each in api.alerts.monitors}


def test_two_of_one_name_are_an_error(server: Server, api: SentryApi) -> None:
    """Sentry allows them, and nobody knows which one counts."""
    apply(server)
    api.alerts.alerts.append(api.alerts.alerts[0] | {"id": "77"})
    with pytest.raises(WishRefused, match=r"2 alerts with the name .*, 77"):
        changes(server)


def test_a_lost_answer_makes_no_second_thing(server: Server, api: SentryApi) -> None:
    """The server made the monitor; the next run finds it by its name."""
    held, app = server.held(), server.app(RULES.notify)
    planned = plan(RULES, held, app)
    api.faults = [Fault("lost")]
    with pytest.raises(SentryApiDown):
        list(server.change(RULES, app, held, planned))
    apply(server)
    assert changes(server) == []
    names = [each["name"] for each in (*api.alerts.monitors, *api.alerts.alerts)]
    assert len([name for name in names if "resentry" in name]) == 7


def test_all_pages_count(server: Server, api: SentryApi) -> None:
    """What is ours may stand behind a hundred of others."""
    for number in range(100):
        made = {"name": f"their {number}", "type": "metric_issue"}
        api.alerts._monitor(made, 42)
    apply(server)
    assert changes(server) == []


@pytest.mark.parametrize("at", range(4))
def test_an_api_that_ends_is_not_a_rule_that_is_gone(
    server: Server, api: SentryApi, at: int
) -> None:
    """410 at any call, as in a brownout: nothing is created, and nothing counts as gone."""
    apply(server)
    fewer = without(RULES, LATENCY)
    headers = {"X-Sentry-Deprecation-Date": "2026-05-14T00:00:00"}
    held, app = server.held(), server.app(RULES.notify)
    gone, again = plan(fewer, held, app), Change("create", "alert", CRITICAL)
    calls: list[Callable[[], object]] = [
        server.held,
        lambda: server.app(RULES.notify),
        lambda: list(server.change(fewer, app, held, gone)),
        lambda: list(server.change(RULES, app, held, [again])),
    ]
    before = len(api.alerts.alerts)
    api.faults = [Fault(410, headers)]
    with pytest.raises(SentryApiGone, match="has ended this API of alerts"):
        calls[at]()
    assert len(api.alerts.alerts) == before


def test_an_older_sentry_is_told_from_a_wrong_address(
    server: Server, api: SentryApi
) -> None:
    """It has only the API before this one."""
    api.alerts.is_older = True
    with pytest.raises(
        SentryApiAbsent, match="older than the API of monitors"
    ) as raised:
        changes(server)
    assert "Prometheus" in raised.value.hint
    api.faults = [Fault(404), Fault(404)]
    with pytest.raises(SentryApiAbsent, match="no such alerts") as raised:
        server.held()
    assert "check the address" in raised.value.hint
    assert "Bugsink" in raised.value.hint


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(401), SentryApiDenied),
        (Fault(403), SentryApiDenied),
        (Fault(429, {"Retry-After": "5"}), SentryApiDown),
        (Fault(502), SentryApiDown),
        (Fault("page"), SentryApiAbsent),
    ],
)
def test_a_server_that_does_not_answer_changes_nothing(
    server: Server, api: SentryApi, fault: Fault, kind: type[SentryApiError]
) -> None:
    """An unknown state is no empty one."""
    apply(server)
    api.faults = [fault]
    with pytest.raises(kind):
        apply(server)
    assert changes(server) == []


def test_an_integration_that_is_not_there_is_named(server: Server) -> None:
    """With those that are; a number is taken as it is."""
    with pytest.raises(SettingsError, match="'bridge'; it has: other, resentry-bridge"):
        server.app("bridge")
    assert server.app(99) == "99"


def test_error_monitors_of_two_projects_are_refused(
    server: Server, api: SentryApi
) -> None:
    """A server that ignores the project would have us change another's alerts."""
    for each in api.alerts.monitors:
        each["projectId"] = "42"
    with pytest.raises(WishRefused, match="2 error monitors"):
        changes(server)


def test_each_key_of_a_rule_arrives(server: Server, api: SentryApi) -> None:
    """Also those that the example does not use."""
    rule = IssueRule(
        name="storm",
        severity="info",
        when=("new", "resolved"),
        tags={"b": "2", "a": "1"},
        more_than=100,
        per="5m",
        is_on=False,
        at_most_every="60m",
    )
    rules = RuleFile(name="lms", notify=42, issues=(rule,))
    apply(server, rules)
    (alert,) = api.alerts.alerts
    assert alert_fields(alert, {}) == {
        "on": False,
        "environment": "",
        "monitors": [f"monitor {alert['detectorIds'][0]}"],
        "minutes": 60,
        "when": [
            "any-short of first_seen_event true",
            "any-short of issue_resolved_trigger true",
        ],
        "filters and actions": [
            (
                'if all of (event_frequency_count {"interval": "5m", "value": 100}; '
                'tagged_event {"key": "a", "match": "eq", "value": "1"}; '
                'tagged_event {"key": "b", "match": "eq", "value": "2"}) do sentry_app 42'
            )
        ],
    }
    assert changes(server, rules) == []
    assert len(api.alerts.monitors) == 4


@pytest.mark.parametrize("severity", ["critical", "warning", "info"])
def test_the_bridge_reads_the_severity_in_the_name(severity: str) -> None:
    """The rule's severity decides, not the level of the event."""
    rule = IssueRule(name="any", severity=severity)  # type: ignore[arg-type]
    webhook = {
        "data": {
            "event": {"issue_id": "7", "level": "warning"},
            "triggered_rule": RULES.name_of(rule),
        }
    }
    news = bridge.read("event_alert", json.dumps(webhook).encode())
    assert news is not None
    assert news.opens is not None
    assert news.opens.severity == severity
