"""The bridge as a process, with Debian's Alertmanager: from a webhook to a notification."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from on_duty import quick, told

from lab import alertmanager
from lab import bridge as sentry
from lab.alertmanager import Alertmanager, names
from lab.bridge import Bridge
from lab.process import eventually
from lab.receiver import Receiver
from lab.sentry_api import SentryApi
from resentry.formats import time_text

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

ISSUE, METRIC = "SentryIssue", "SentryMetricAlert"


def test_an_alert_lives_as_long_as_its_issue(tmp_path: Path) -> None:
    """1,000 webhooks are one alert and one notification, through a kill and a restart.

    The bridge is killed in the middle; the Alertmanager restarts, and so forgets. What
    Sentry calls resolved ends, in the Alertmanager and in a notification.
    """
    if why := alertmanager.missing():
        pytest.skip(why)
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


def test_the_api_tells_what_no_webhook_has_told(tmp_path: Path) -> None:
    """A new issue opens an alert, and an end closes one, though no webhook came.

    What a webhook has told is not told twice. While the API does not answer, nothing is
    closed, and the log says so once.
    """
    token = tmp_path / "token"
    with SentryApi("127.0.0.1:1", scopes=("event:read",)) as api:
        token.write_text(api.token)
        with Bridge(
            tmp_path / "bridge",
            ["http://127.0.0.1:1"],
            RESENTRY_SENTRY_API=api.url,
            RESENTRY_SENTRY_ORGANIZATION="school",
            RESENTRY_SENTRY_PROJECT="lms",
            RESENTRY_SENTRY_TOKEN_FILE=str(token),
            RESENTRY_BRIDGE_FILL_SECONDS="0.2",
        ) as bridge:

            def is_open() -> set[str]:
                return {each["labels"]["issue"] for each in bridge.status()["alerts"]}

            for number in ("1", "2"):
                bridge.send("event_alert", sentry.event_alert(number))
                api.issues.add(number)
            now = time_text(time.time())
            for number, fields in {
                "3": {},
                "4": {"status": "resolved"},
                "5": {"firstSeen": now},
                "6": {"level": "info", "culprit": "ada@example.com"},
            }.items():
                api.issues.add(number, **fields)
            eventually(lambda: is_open() == {"1", "2", "3", "6"})
            found = {each["subject"]: each for each in bridge.status()["alerts"]}
            assert found["issue:1"]["webhooks"] == 1
            assert found["issue:3"]["webhooks"] == 0
            assert found["issue:3"]["labels"] == {
                **found["issue:1"]["labels"],
                "issue": "3",
            }
            assert found["issue:6"]["labels"]["severity"] == "info"
            assert "ada" not in str(found["issue:6"])
            assert "project:lms" in api.issues.searched[-1]

            api.scopes.clear()
            eventually(lambda: "refuses the token" in bridge.log_text())
            del api.issues.known["2"]
            for number in ("1", "3"):
                api.issues.add(number, "resolved")
            asked = len(api.asked)
            eventually(lambda: len(api.asked) > asked + 3)
            assert is_open() == {"1", "2", "3", "6"}
            assert bridge.log_text().count("cannot ask Sentry's API") == 1

            api.scopes.add("event:read")
            eventually(lambda: is_open() == {"6"})  # the 2 was deleted
            gaps = 'resentry_bridge_gaps_total{gap="%s"} %s.0'
            for gap in (gaps % ("begin", 2), gaps % ("end", 3)):
                eventually(lambda gap=gap: gap in bridge.metrics(), what=gap)
            # An issue that comes back after its end is news: by a webhook, as ever.
            again = bridge.send("event_alert", sentry.event_alert("3"))
            assert again.text == "opened\n"
        assert api.broken == []
