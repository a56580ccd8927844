"""The second level of on-call and the canary: the bridge beside Debian's Alertmanager."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import requests
from on_duty import heard, quick, told

from lab import alertmanager
from lab import bridge as sentry
from lab.alertmanager import Alertmanager, names
from lab.bridge import Bridge
from lab.paths import REPOSITORY
from lab.process import eventually
from lab.receiver import Receiver
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("alertmanager")]

L1, L2, HEARTBEAT = "oncall-l1", "oncall-l2", "heartbeat-sentry"
ISSUE, MISSING = "SentryIssue", "ResentryCanaryMissing"
ESCALATE = {
    "RESENTRY_BRIDGE_ESCALATE_SECONDS": "6",
    "RESENTRY_BRIDGE_RESEND_SECONDS": "1",
}


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if why := alertmanager.missing():
        pytest.skip(why)


class Duty:
    """An Alertmanager with the shipped configuration, and those whom it tells."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.receiver = stack.enter_context(Receiver())
        (folder / "manager").mkdir()
        made = Alertmanager(folder / "manager", quick(self.receiver))
        self.manager = stack.enter_context(made)

    def bridge(self, **settings: str) -> Bridge:
        made = Bridge(self.folder / "bridge", [self.manager.address], **settings)
        return self.stack.enter_context(made)

    def copies(self) -> list[dict[str, Any]]:
        return self.manager.alerts('escalation="l2"')

    def issues(self, receiver: str, status: str = "firing") -> set[str]:
        return {
            alert["labels"].get("issue", alert["labels"]["alertname"])
            for notification in told(self.receiver, receiver)
            for alert in notification["alerts"]
            if alert["status"] == status
        }


@pytest.fixture
def duty(tmp_path: Path) -> Iterator[Duty]:
    with ExitStack() as stack:
        yield Duty(tmp_path, stack)


def test_the_second_level_is_called_when_nobody_acts(duty: Duty) -> None:
    """For what is critical, and neither over nor silenced: Prometheus' alerts, too.

    A warning is never escalated. The copy ends with its alert. A restart of Alertmanager
    and one of the bridge call nobody twice.
    """
    bridge = duty.bridge(**ESCALATE)
    duty.manager.silence("issue=2")
    for issue in ("3", "2", "1"):
        bridge.send("event_alert", sentry.event_alert(issue))
    bridge.send("issue", sentry.issue("3"))
    bridge.send("event_alert", sentry.event_alert("4", level="warning"))
    labels = {
        "alertname": "ResentryDsnDead",
        "severity": "critical",
        "namespace": "shop",
    }
    duty.manager.post({"labels": labels})
    eventually(lambda: duty.issues(L1) >= {"1", "ResentryDsnDead"})

    eventually(
        lambda: duty.issues(L2) == {"1", "ResentryDsnDead"}, 60, "the second level"
    )

    def escalated() -> tuple[int, str]:
        (state,) = bridge.status()["escalations"]
        return state["escalated"], state["reason"]

    eventually(lambda: escalated() == (2, ""), what="both in the status")
    assert (
        "neither ended nor silenced"
        in told(duty.receiver, L2)[0]["alerts"][0]["annotations"]["escalated"]
    )
    calls = len(told(duty.receiver, L2))

    duty.manager.stop()  # and so it forgets every alert
    duty.manager.start()
    bridge.stop()
    bridge.start()
    eventually(lambda: names(duty.copies()) == [ISSUE], 60, "the copy again")
    duty.manager.silence("issue=1")
    eventually(
        lambda: duty.copies()[0]["status"]["state"] == "suppressed",
        30,
        "a silenced copy",
    )
    bridge.send("event_alert", sentry.event_alert("5"))
    eventually(lambda: "5" in duty.issues(L2), 60, "one more call")
    bridge.send("issue", sentry.issue("5"))
    eventually(lambda: "5" in duty.issues(L2, "resolved"), 60, "the end of the copy")
    assert {"2", "3", "4"} & duty.issues(L2) == set()
    later = [
        each for more in told(duty.receiver, L2)[calls:] for each in more["alerts"]
    ]
    assert {each["labels"].get("issue") for each in later} == {"5"}
    metrics = bridge.metrics()
    assert "resentry_bridge_escalation_failures{" in metrics
    assert "\nresentry_bridge_canary_missing 0.0" in metrics


def test_an_alertmanager_that_cannot_be_asked_is_named(duty: Duty) -> None:
    """It takes what is posted, but does not answer: nothing is escalated there."""
    with Receiver(
        200, body=b"ok"
    ) as deaf:  # answers a GET as well, but not with alerts
        made = Bridge(
            duty.folder / "deaf",
            [f"http://{deaf.address}", duty.manager.address],
            **ESCALATE,
        )
        bridge = duty.stack.enter_context(made)
        bridge.send("event_alert", sentry.event_alert("1"))
        eventually(lambda: duty.issues(L2) == {"1"}, 60, "the other one's second level")

        def reason(address: str) -> str:
            states = {each["name"]: each for each in bridge.status()["escalations"]}
            return str(states[address]["reason"])

        eventually(lambda: reason(deaf.address), what="the reason in the status")
        assert reason(duty.manager.address.partition("//")[2]) == ""
        line = "none is escalated there"
        eventually(lambda: line in bridge.log_text(), what="the line of the log")


def test_a_canary_that_does_not_come_back_is_a_critical_alert(duty: Duty) -> None:
    """While canaries come back, a service outside hears of it; then nobody does."""
    with Sink(strict=True) as sink:
        settings = {
            "RESENTRY_BRIDGE_CANARY_DSN": sink.dsn(1),
            "RESENTRY_BRIDGE_CANARY_SECONDS": "1",
            "RESENTRY_BRIDGE_CANARY_LIMIT_SECONDS": "6",
            "RESENTRY_BRIDGE_RESEND_SECONDS": "1",
        }
        bridge = duty.bridge(**settings)

        def come_back(number: int) -> bool:
            """Be Sentry: make a webhook of the newest canary."""
            canaries = sink.events(1)
            if len(canaries) < number:
                return False
            tags = [
                ["environment", "production"],
                *map(list, canaries[-1].tags.items()),
            ]
            answer = bridge.send("event_alert", sentry.event_alert("9", tags=tags))
            return answer.text == "canary\n"

        eventually(lambda: come_back(1), 30, "a canary that comes back")
        eventually(lambda: heard(duty.receiver, HEARTBEAT) == {"ResentryCanary"})
        assert (
            "the last one came back at 20" in requests.get(bridge.http, timeout=5).text
        )
        canary = bridge.status()["canary"]
        assert (canary["missing"], canary["reason"]) == (False, "")
        assert canary["arrived"]

        eventually(lambda: MISSING in heard(duty.receiver, L1), 60, "a missing canary")
        eventually(
            lambda: names(duty.manager.alerts()) == [MISSING], 30, "no sign of life"
        )
        (missing,) = duty.manager.alerts()
        page, _, anchor = missing["annotations"]["runbook_url"].partition("#")
        assert f'<a id="{anchor}"></a>' in (REPOSITORY / page).read_text()
        bridge.stop()
        bridge.start()
        assert bridge.status()["canary"]["missing"]

        sink.answer(1, 403)
        eventually(lambda: bridge.status()["canary"]["reason"], 30, "a refused canary")
        assert "status 403" in bridge.status()["canary"]["reason"]
        assert "MISSING: HTTP status 403" in requests.get(bridge.http, timeout=5).text
        sink.answer(1, "ok")
        count = len(sink.events(1))
        eventually(lambda: come_back(count + 1), 60, "a canary that comes back again")
        eventually(
            lambda: MISSING in heard(duty.receiver, L1, "resolved"), 60, "its end"
        )
        assert ISSUE not in names(duty.manager.alerts())
        assert sink.dsn(1).partition("@")[0] not in bridge.log_text()
        bridge.stop()
        for name in settings:
            if "CANARY" in name:
                bridge.env.pop(name)
        bridge.start()
        assert bridge.status()["canary"] is None
        eventually(lambda: not duty.manager.alerts(), 30, "no alert of a canary")
