"""The bridge as a process, with Debian's Alertmanager: from a webhook to a notification."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from on_duty import quick, told

from lab import alertmanager
from lab import bridge as sentry
from lab.alertmanager import Alertmanager, names
from lab.bridge import Bridge
from lab.process import eventually
from lab.receiver import Receiver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("alertmanager")]

ISSUE, METRIC = "SentryIssue", "SentryMetricAlert"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    if why := alertmanager.missing():
        pytest.skip(why)


def test_an_alert_lives_as_long_as_its_issue(tmp_path: Path) -> None:
    """1,000 webhooks are one alert and one notification, through a kill and a restart.

    The bridge is killed in the middle; the Alertmanager restarts, and so forgets. What
    Sentry calls resolved ends, in the Alertmanager and in a notification.
    """
    with (
        Receiver() as receiver,
        Alertmanager(tmp_path, quick(receiver)) as manager,
        Bridge(
            tmp_path / "bridge",
            [manager.address],
            RESENTRY_BRIDGE_RESEND_SECONDS="1",
        ) as bridge,
    ):

        def send(number: int) -> list[int]:
            answers = [
                bridge.send("event_alert", sentry.event_alert()) for _ in range(number)
            ]
            return [answer.status_code for answer in answers]

        assert set(send(500)) == {202}
        bridge.kill()
        bridge.start()
        assert set(send(500)) == {202}
        (alert,) = bridge.status()["alerts"]
        assert alert["webhooks"] == 1000
        assert bridge.send("metric_alert", sentry.metric_alert()).status_code == 202
        eventually(lambda: names(manager.alerts()) == [ISSUE, METRIC])
        eventually(lambda: len(told(receiver, "oncall-l1")) == 2)

        manager.stop()  # killed, it would forget whom it has notified, too
        manager.start()
        eventually(lambda: names(manager.alerts()) == [ISSUE, METRIC])

        assert bridge.send("issue", sentry.issue()).text == "closed\n"
        resolved = sentry.metric_alert("resolved")
        assert bridge.send("metric_alert", resolved).text == "closed\n"
        eventually(lambda: not manager.alerts())
        eventually(lambda: len(told(receiver, "oncall-l1")) == 4)
        calls = sorted(
            (each["status"], alert["labels"]["alertname"])
            for each in told(receiver, "oncall-l1")
            for alert in each["alerts"]
        )
        assert calls == [
            *(("firing", ISSUE), ("firing", METRIC)),
            *(("resolved", ISSUE), ("resolved", METRIC)),
        ]
        status = bridge.status()
        assert status["webhooks"]["event_alert"]["number"] == 1000
        (state,) = status["alertmanagers"]
        assert (state["reason"], state["behind"]) == ("", 0)
        assert (
            'resentry_bridge_open_alerts{severity="critical"} 0.0' in bridge.metrics()
        )
        assert bridge.stop() == 0
