"""k8s/monitoring/alertmanager.yml: who is told what, how often, and what hides what."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from manifests import K8S
from on_duty import CONFIG, heard, quick, shipped, told

from agent.alerts.notices import maintained
from lab import alertmanager
from lab.alertmanager import Alertmanager, amtool, names
from lab.process import eventually
from lab.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("alertmanager")]

RULES = yaml.safe_load((K8S / "monitoring" / "rules.yaml").read_text())["spec"]
UNITS = {"s": 1, "m": 60, "h": 3600}
ROUTES = [
    ("alertname=A severity=critical", "oncall-l1,chat"),
    ("alertname=A severity=critical escalation=l2", "oncall-l2"),
    ("alertname=A severity=warning", "chat"),
    ("alertname=A severity=info", "notices"),
    ("alertname=PlannedMaintenance severity=info environment=production", "notices"),
    ("alertname=ResentryCanary severity=none", "heartbeat-sentry"),
    ("alertname=Watchdog severity=none", "heartbeat-prometheus"),
    ("alertname=A", "chat"),
    ("alertname=A severity=page", "chat"),
]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if why := alertmanager.missing():
        pytest.skip(why)


def routes() -> list[dict[str, Any]]:
    root = shipped()["route"]
    return [root, *root["routes"]]


def seconds(time: str) -> int:
    return int(time[:-1]) * UNITS[time[-1]]


def test_alertmanager_can_read_it() -> None:
    """As its own tool checks it."""
    code, printed = amtool("check-config", CONFIG)
    assert code == 0, printed


@pytest.mark.parametrize(("labels", "receivers"), ROUTES, ids=lambda text: text)
def test_an_alert_goes_to_its_receivers(labels: str, receivers: str) -> None:
    """Also one that has no severity, or one that nobody knows: the chat is told."""
    check = ["config", "routes", "test", f"--config.file={CONFIG}"]
    given = [f"--verify.receivers={receivers}", *labels.split()]
    code, printed = amtool(*check, *given)
    assert code == 0, printed
    wrong = "--verify.receivers=heartbeat-sentry,chat"
    assert amtool(*check, wrong, *labels.split())[0] == 1


def test_each_alert_of_prometheus_has_a_receiver_of_its_severity() -> None:
    """A critical alert is nobody's secret: on call and chat are told."""
    expected = {"critical": "oncall-l1,chat", "warning": "chat", "info": "notices"}
    for group in RULES["groups"]:
        for rule in group["rules"]:
            severity = rule["labels"]["severity"]
            code, printed = amtool(
                *("config", "routes", "test", f"--config.file={CONFIG}"),
                f"--verify.receivers={expected[severity]}",
                *(f"alertname={rule['alert']}", f"severity={severity}"),
            )
            assert code == 0, printed


def test_repeats_are_multiples_of_the_interval_in_which_they_are_looked_at() -> None:
    """Else Alertmanager repeats later than the file says."""
    root = shipped()["route"]
    for route in routes():
        repeat = seconds(route.get("repeat_interval", root["repeat_interval"]))
        interval = seconds(route.get("group_interval", root["group_interval"]))
        assert repeat % interval == 0, route


def test_no_rule_of_inhibition_holds_between_alerts_that_say_no_place() -> None:
    """Two alerts that both lack a label are equal in it; and none hides a critical one."""
    known = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}
    for rule in shipped()["inhibit_rules"]:
        source, target = " ".join(rule["source_matchers"]), rule["target_matchers"]
        assert any(f'{label}=~".+"' in source for label in rule["equal"]), rule
        assert "critical" not in str(target)
        for named in re.findall(r"Resentry\w+(?:\([\w|]+\))?", source + str(target)):
            for one in named.replace("ResentryDsn(", "").rstrip(")").split("|"):
                assert {one, f"ResentryDsn{one}"} & known, one


class Duty:
    """An Alertmanager with the shipped configuration, and those whom it tells."""

    def __init__(self, manager: Alertmanager, receiver: Receiver) -> None:
        self.manager = manager
        self.receiver = receiver

    def raise_(self, name: str, severity: str, **labels: str) -> None:
        given = {"alertname": name, "severity": severity, **labels}
        self.manager.post({"labels": given})

    def await_state(self, name: str, state: str) -> None:
        def is_so() -> bool:
            alerts = self.manager.alerts(f'alertname="{name}"')
            return bool(alerts) and {a["status"]["state"] for a in alerts} == {state}

        eventually(is_so, 30, f"{name} is {state}")

    def await_told(self, receiver: str, *alerts: str, status: str = "firing") -> None:
        eventually(
            lambda: {*alerts} <= heard(self.receiver, receiver, status),
            30,
            f"{receiver} is told of {alerts}",
        )


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    with (
        Receiver() as receiver,
        Alertmanager(tmp_path, quick(receiver)) as manager,
    ):
        yield Duty(manager, receiver)


def issue(number: int, **more: Any) -> dict[str, Any]:
    labels = {
        "alertname": "SentryIssue",
        "severity": "critical",
        "project": "lms",
        "environment": "production",
        "issue_id": str(number),
    }
    return {"labels": labels | more}


def test_a_storm_of_issues_is_one_notification(duty: Duty) -> None:
    """A hundred issues at once; and after a restart nobody is told of them again."""
    storm = [issue(number) for number in range(100)]
    duty.manager.post(*storm)
    duty.await_told("chat", "SentryIssue")
    duty.await_told("oncall-l1", "SentryIssue")
    (first,) = told(duty.receiver, "oncall-l1")
    assert len(first["alerts"]) + first["truncatedAlerts"] == 100
    assert len(told(duty.receiver, "chat")) == 1

    duty.manager.stop()
    duty.manager.start()
    assert duty.manager.alerts() == []
    duty.manager.post(
        *storm, issue(0, project="shop")
    )  # who posts them posts them again
    eventually(
        lambda: any(
            "shop" in str(each["groupLabels"]) for each in told(duty.receiver, "chat")
        ),
        30,
        "the alert that is new",
    )
    assert len(told(duty.receiver, "chat")) == 2
    assert len(duty.manager.alerts()) == 101


def test_maintenance_hides_warnings_and_never_a_critical_alert(duty: Duty) -> None:
    """Of its environment alone, and it is told itself, also beside a critical alert."""
    places = {"project": "lms", "environment": "production"}
    notice = maintained("production", "", time.time() + 3600)  # as the command posts it
    duty.manager.post({"labels": dict(notice.labels)})
    duty.await_told("notices", "PlannedMaintenance")
    duty.raise_("Latency", "warning", project="shop", environment="production")
    duty.raise_("Errors", "critical", **places)
    duty.raise_("Staging", "warning", project="shop", environment="staging")
    duty.raise_("Elsewhere", "warning", namespace="shop")
    duty.await_state("Latency", "suppressed")
    duty.await_state("Errors", "active")
    duty.await_told("oncall-l1", "Errors")
    duty.await_told("chat", "Errors", "Staging", "Elsewhere")
    duty.await_state("PlannedMaintenance", "active")
    assert "Latency" not in heard(duty.receiver, "chat")


def test_a_critical_alert_hides_the_warnings_of_its_project(duty: Duty) -> None:
    """And a dead DSN what follows from it. What lacks the label is hidden by nothing."""
    places = {"project": "lms", "environment": "production"}
    duty.raise_("Errors", "critical", **places)
    duty.raise_("ResentryDsnDead", "critical", namespace="shop")
    duty.raise_("Global", "critical")
    duty.await_told("oncall-l1", "Errors", "ResentryDsnDead", "Global")
    duty.raise_("Latency", "warning", **places)
    duty.raise_("ResentryNotSending", "warning", namespace="shop")
    duty.raise_("ResentryTracesHigh", "warning", namespace="shop")
    duty.raise_("ResentryTelemetryStopped", "warning", namespace="other")
    duty.raise_("Nameless", "warning")
    for hidden in ("Latency", "ResentryNotSending"):
        duty.await_state(hidden, "suppressed")
    shown = ("ResentryTracesHigh", "ResentryTelemetryStopped", "Nameless")
    duty.await_told("chat", *shown)
    assert not heard(duty.receiver, "chat") & {"Latency", "ResentryNotSending"}


def test_the_second_level_hears_of_the_copy_alone(duty: Duty) -> None:
    """A silence of the issue covers the copy, too; and an end is told to both levels."""
    duty.manager.post(issue(7))
    duty.await_told("oncall-l1", "SentryIssue")
    duty.manager.post(issue(7, escalation="l2"))
    duty.await_told("oncall-l2", "SentryIssue")
    (copy,) = told(duty.receiver, "oncall-l2")[0]["alerts"]
    assert copy["labels"]["escalation"] == "l2"
    assert len(told(duty.receiver, "oncall-l1")) == 1
    duty.manager.silence("issue_id=7")
    eventually(lambda: names(duty.manager.alerts(active=False)) == ["SentryIssue"] * 2)
    assert names(duty.manager.alerts(silenced=False)) == []


def test_a_sign_of_life_goes_to_its_own_service(duty: Duty) -> None:
    """And to nobody else. Its end is no sign of life."""
    for name, receiver in (
        ("ResentryCanary", "heartbeat-sentry"),
        ("Watchdog", "heartbeat-prometheus"),
    ):
        duty.raise_(name, "none")
        duty.await_told(receiver, name)
    duty.raise_("After", "warning")
    duty.await_told("chat", "After")
    assert heard(duty.receiver, "chat") == {"After"}
    for receiver in shipped()["receivers"]:
        if receiver["name"].startswith("heartbeat"):
            assert [each["send_resolved"] for each in receiver["webhook_configs"]] == [
                False
            ]
