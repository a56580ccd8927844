"""`alerts notice`: a deployment and a maintenance, told to a real Alertmanager."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml
from jsonschema import Draft202012Validator

from docs.documents import schemas
from lab import alertmanager
from lab.alertmanager import Alertmanager, names
from lab.paths import REPOSITORY
from lab.process import eventually, free_port
from lab.sentry_api import SentryApi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.process, pytest.mark.server]

CONFIG = REPOSITORY / "k8s" / "monitoring" / "alertmanager.yml"
DEPLOY = ("deploy", "--release", "lms@1.0", "--in", "production")
MAINTENANCE = ("maintenance", "--in", "production")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Alertmanager]:
    if why := alertmanager.missing():
        pytest.skip(why)
    with Alertmanager(tmp_path, yaml.safe_load(CONFIG.read_text())) as manager:
        yield manager


@pytest.fixture
def api() -> Iterator[SentryApi]:
    with SentryApi("sentry.example.org", scopes=("org:ci",)) as api:
        api.project("lms", 42)
        yield api
        assert api.broken == []


def notice(*args: str, **environ: str) -> tuple[int, dict[str, Any]]:
    ran = subprocess.run(
        [sys.executable, "-m", "agent", "alerts", "notice", *args, "--json"],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    document: dict[str, Any] = json.loads(ran.stdout)
    schema = json.loads(schemas()[document["command"]])
    Draft202012Validator(schema).validate(document)
    return ran.returncode, document


def active_silences(manager: Alertmanager) -> list[dict[str, Any]]:
    every = requests.get(f"{manager.address}/api/v2/silences", timeout=5).json()
    return [each for each in every if each["status"]["state"] == "active"]


def test_a_deployment_is_told_to_sentry_and_to_each_alertmanager(
    manager: Alertmanager, api: SentryApi, tmp_path: Path
) -> None:
    """One that is away keeps nobody else from hearing; told again, nothing is double."""
    (tmp_path / "token").write_text(api.token)
    away = f"127.0.0.1:{free_port()}"
    environ = {
        "RESENTRY_BRIDGE_ALERTMANAGERS": f"http://{away},{manager.address}",
        "RESENTRY_SENTRY_API": api.url,
        "RESENTRY_SENTRY_ORGANIZATION": "school",
        "RESENTRY_SENTRY_PROJECT": "lms",
        "RESENTRY_SENTRY_TOKEN_FILE": str(tmp_path / "token"),
    }
    here = manager.address.removeprefix("http://")
    code, document = notice(*DEPLOY, **environ)
    assert (code, document["error"]["code"]) == (1, "NotTold")
    assert document["result"]["sentry"] == "new"
    told = document["result"]["alertmanagers"]
    assert (told[here], away in told[away]) == ("", True)

    environ["RESENTRY_BRIDGE_ALERTMANAGERS"] = manager.address
    code, document = notice(*DEPLOY, **environ)
    assert (code, document["result"]["sentry"]) == (0, "known")
    assert len(api.releases.deploys["lms@1.0"]) == 1
    (alert,) = manager.alerts()
    assert alert["labels"] == {
        "alertname": "Deployment",
        "environment": "production",
        "project": "lms",
        "release": "lms@1.0",
        "severity": "info",
        "source": "resentry",
    }
    assert [each["name"] for each in alert["receivers"]] == ["notices"]

    api.stop()
    code, document = notice(*DEPLOY, **environ)
    assert (code, document["result"]["sentry"]) == (1, "failed")
    assert document["result"]["alertmanagers"] == {here: ""}


def test_a_maintenance_hides_warnings_and_nothing_critical(
    manager: Alertmanager,
) -> None:
    """With a silence also over a restart of Alertmanager; ended, it hides nothing."""
    environ = {"RESENTRY_BRIDGE_ALERTMANAGERS": manager.address}

    def raised() -> None:
        for environment, severity in (
            ("production", "critical"),
            ("production", "warning"),
            ("staging", "warning"),
        ):
            place = {"environment": environment, "severity": severity}
            manager.post(
                {"labels": {"alertname": f"{environment} {severity}", **place}}
            )

    def seen() -> list[str]:
        return names(manager.alerts(silenced=False, inhibited=False))

    raised()
    everything = ["production critical", "production warning", "staging warning"]
    eventually(lambda: seen() == everything, what="the alerts")
    assert notice(*MAINTENANCE, "--for", "1h", "--comment", "disk", **environ)[0] == 0
    rest = ["PlannedMaintenance", "production critical", "staging warning"]
    eventually(lambda: seen() == rest, what="a warning that is inhibited")
    assert active_silences(manager) == []

    assert notice(*MAINTENANCE, "--for", "2h", "--silence", **environ)[0] == 0
    code, document = notice(*MAINTENANCE, "--for", "3h", "--silence", **environ)
    assert code == 0
    (silence,) = active_silences(manager)
    ends = document["result"]["ends_at"]
    assert silence["endsAt"][:16] == ends[:16]
    assert ends[:13] > time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() + 3600))
    others = {
        manager.silence("alertname=staging warning"),
        manager.silence("environment=production", "severity=warning"),
    }

    manager.stop()
    manager.start()  # it has forgotten the notice, and kept the silence
    raised()
    eventually(lambda: seen() == ["production critical"], what="a silence that holds")

    code, document = notice(*MAINTENANCE, "--end", **environ)
    assert code == 0
    assert {each["id"] for each in active_silences(manager)} == others
    for id_ in others:
        url = f"{manager.address}/api/v2/silence/{id_}"
        requests.delete(url, timeout=5).raise_for_status()
    eventually(lambda: seen() == everything, what="warnings that are shown again")


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ((*MAINTENANCE, "--for", "25h"), 2),
        ((*MAINTENANCE, "--for", "0s"), 2),
        (MAINTENANCE, 2),
        ((*MAINTENANCE, "--for", "1h", "--end"), 2),
        ((*MAINTENANCE, "--for", "1h"), 78),
        (DEPLOY, 78),
    ],
)
def test_a_notice_for_nobody_or_for_ever_is_refused(
    args: tuple[str, ...], code: int
) -> None:
    """A forgotten maintenance would hide warnings for ever."""
    assert notice(*args)[0] == code
