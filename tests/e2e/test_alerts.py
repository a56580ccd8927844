"""The alerts of k8s/monitoring with a real Prometheus, which scrapes a real agent."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from lab import prometheus
from lab.paths import REPOSITORY
from lab.process import eventually
from lab.prometheus import Prometheus
from lab.sink import Sink, key_of
from lab.system import System
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("alerts")]

RULES = REPOSITORY / "k8s" / "monitoring" / "rules.yaml"
QUICK = {"RESENTRY_DSN_CHECK_SECONDS": "1"}
"""A published DSN that nobody uses is checked again after 6 s instead of half an hour."""
USAGE, INTERNAL = 2, 70
"""Exit codes of a command that does not exist so, and of a bug."""


def rules() -> list[dict[str, Any]]:
    """Every alert, as it is shipped."""
    groups = yaml.safe_load(RULES.read_text())["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


class Site:
    """An agent with a DSN, an application that sends nothing, and who watches them."""

    def __init__(self, system: System, sink: Sink, watcher: Prometheus) -> None:
        self.system = system
        self.sink = sink
        self.watcher = watcher

    def fail(self) -> None:
        """Have the application send an error."""
        url = f"http://127.0.0.1:{self.system.api_port}/courses/7"
        assert requests.get(url, timeout=10).status_code == 500

    def await_alert(self, name: str) -> str:
        """Wait until the alert fires, and return its description."""
        alert: dict[str, Any] = eventually(
            lambda: (
                (now := self.watcher.alerts().get(name))
                and now["state"] == "firing"
                and now
            ),
            60,
            f"{name} fires",
        )
        return str(alert["annotations"]["description"])

    def await_no_alert(self, name: str) -> None:
        """Wait until the alert is over."""
        eventually(lambda: name not in self.watcher.alerts(), 60, f"the end of {name}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if why := prometheus.missing():
        pytest.skip(why)
    folder: Path = tmp_path_factory.mktemp("prometheus")
    quick = [{**rule, "for": "2s"} for rule in rules()]  # nobody waits an hour here
    with Sink() as sink, System() as system:
        system.write(SENTRY_DSN=sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.1")
        system.start_agent(**QUICK)
        system.start_api(workers=1)
        system.converge(1, 1)
        with Prometheus(
            folder,
            f"127.0.0.1:{system.http_port}",
            {"namespace": "shop", "pod": "api-1"},
            {"groups": [{"name": "all", "rules": quick}]},
        ) as watcher:
            yield Site(system, sink, watcher)


def test_a_key_that_is_disabled_is_an_alert_with_and_without_traffic(
    site: Site,
) -> None:
    """First nobody sends: the agent notices. Then a process is told within a minute."""
    mark = fingerprint(site.sink.dsn(1))
    verdict = f'resentry_dsn_check_verdict{{dsn="{mark}",verdict="%s"}}'
    eventually(
        lambda: site.watcher.value(verdict % "accepted") == 1, 30, "an accepted DSN"
    )
    site.sink.answer(1, 403)
    described = site.await_alert("ResentryDsnDead")
    assert all(part in described for part in ("shop/api-1", mark, "rejected"))
    assert "ResentryDsnRefused" not in site.watcher.alerts()
    site.sink.answer(1, "ok")
    site.await_no_alert("ResentryDsnDead")

    site.fail()
    answers = f'resentry_dsn_answers{{dsn="{mark}",kind="%s"}}'
    eventually(lambda: site.watcher.value(answers % "accepted") == 1, 60, "accepted")
    asked = site.sink.answered(403)
    site.sink.answer(1, 403)
    site.fail()
    began = time.monotonic()
    eventually(lambda: site.watcher.value(answers % "refused") == 1, 60, "refused")
    assert time.monotonic() - began < 60
    assert site.sink.answered(403) > asked
    described = site.await_alert("ResentryDsnRefused")
    assert all(part in described for part in ("shop/api-1", mark))
    (use,) = site.system.status()["dsns"]
    assert (use["fingerprint"], use["processes"]) == (mark, {"refused": 1})
    assert site.system.agent is not None
    log, line = site.system.agent.log_text, "of 1 process, 1 refused (status 403)"
    eventually(lambda: line in log(), what="the line of the log")
    code, printed = site.system.run("resentry-agent", "doctor", "--area", "sentry")
    assert (code, "RSN701" in printed) == (1, True), printed
    site.sink.answer(1, "ok")
    site.fail()
    site.await_no_alert("ResentryDsnRefused")
    text = site.system.get("/metrics").text
    assert prometheus.promtool("check", "metrics", given=text.encode()) == (0, "")
    assert key_of(1) not in text


def test_prometheus_can_evaluate_every_alert(site: Site) -> None:
    """Against what a real agent exports; and none of them fires while all is well."""

    def evaluated() -> list[dict[str, Any]]:
        url = f"{site.watcher.address}/api/v1/rules"
        (group,) = requests.get(url, timeout=5).json()["data"]["groups"]
        return [rule for rule in group["rules"] if rule["health"] != "unknown"]

    eventually(lambda: len(evaluated()) == len(rules()), 30, "an evaluation of each")
    assert {rule["lastError"] for rule in evaluated() if "lastError" in rule} <= {""}
    eventually(lambda: not site.watcher.alerts(), 60, "no alert")


def test_a_change_is_measured_from_vault_to_the_last_process(site: Site) -> None:
    """The rate that runs follows, and the time counts from the writing in Vault."""
    rate = 'resentry_rate{role="api",setting="SENTRY_TRACES_SAMPLE_RATE",bound="%s"} == 0.2'
    count = "resentry_propagation_seconds_count"
    value = site.watcher.value
    before = value(count)
    site.system.write(SENTRY_DSN=site.sink.dsn(1), SENTRY_TRACES_SAMPLE_RATE="0.2")
    for bound in ("lowest", "highest"):
        eventually(lambda b=bound: value(rate % b) is not None, 30, f"the {bound} rate")
    eventually(lambda: value(count) == (before or 0) + 1, 30, "the measure")
    seconds = value("resentry_propagation_seconds_sum")
    assert seconds is not None
    assert 0 < seconds < 60


def commands() -> list[str]:
    """Each command of the agent that an entry of the runbook names."""
    found: dict[str, None] = {}
    for rule in rules():
        notes = rule["annotations"]
        found[notes["see"]] = None
        text = " ".join(notes.values())
        found |= dict.fromkeys(re.findall(r"`(resentry-agent [^`]+)`", text))
    return list(found)


def test_what_the_runbook_says_to_type_can_be_typed(site: Site) -> None:
    """Each command exists with these options, and ends as a command should."""
    run = site.system.run
    boost = ("resentry-agent", "boost", "--traces", "1.0", "--for", "15m")
    assert run(*boost)[0] == 0
    boosts = site.system.status()["current"]["boosts"]
    typed = sorted(commands(), key=lambda command: ("--end" in command, command))
    assert {"resentry-agent status", "resentry-agent boost --list"} <= {*typed}
    for command in typed:
        code, printed = run(*command.replace("ID", boosts[0]["id"]).split())
        if command.startswith("resentry-agent boost"):
            assert code == 0, (command, printed)
        assert code not in (USAGE, INTERNAL), (command, printed)
        assert "Traceback" not in printed, (command, printed)
    left = {boost["id"] for boost in site.system.status()["current"]["boosts"]}
    assert boosts[0]["id"] not in left
    for other in left:
        assert run("resentry-agent", "boost", "--end", other)[0] == 0
