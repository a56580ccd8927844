"""k8s/monitoring/application-rules.yaml: the guide's alerts, from the application's metrics."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from manifests import K8S

from agent.alerts.rule_file import read
from lab import prometheus
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

RULES = yaml.safe_load((K8S / "monitoring" / "application-rules.yaml").read_text())[
    "spec"
]
METRICS, ALERTS = (group["rules"] for group in RULES["groups"])
PLACE = 'namespace="shop",job="lms",instance="10.0.0.7:8000"'
COUNT = f'http_server_request_duration_seconds_count{{{PLACE},http_response_status_code="%s"}}'
BUCKET = f'http_server_request_duration_seconds_bucket{{{PLACE},le="%s"}}'
FAILED = f'celery_task_failed_total{{{PLACE},name="mail"}}'
UP = f"up{{{PLACE}}}"
MINUTES = 30
GOOD = {COUNT % "200": "0+600x30"}
FAST = {
    BUCKET % "2": "0+570x30",
    BUCKET % "10": "0+600x30",
    BUCKET % "+Inf": "0+600x30",
}
SLOW = {
    BUCKET % "2": "0+560x30",
    BUCKET % "10": "0+600x30",
    BUCKET % "+Inf": "0+600x30",
}
CASES: dict[str, tuple[list[dict[str, str]], list[dict[str, str]]]] = {
    "ApplicationMetricsAbsent": ([{}, {FAILED: "0+1x30"}], [GOOD]),
    "ApplicationExceptionsUnhandled": (
        [
            GOOD | {COUNT % "500": "0x27 1x3"},
            GOOD | {FAILED: "0x27 1x3"},
            GOOD | {UP: "1x30", COUNT % "500": "_x27 1x3"},  # born with the value 1
            GOOD | {UP: "1x30", FAILED: "_x27 1x3"},
            {COUNT % "500": "0x30", FAILED: "0x27 1x3"},  # both kinds in one process
        ],
        [
            GOOD,
            GOOD | {COUNT % "503": "0+6x30"},
            GOOD | {COUNT % "500": "5x30"},
            {
                UP: "1x10 _x17 1x3",
                COUNT % "500": "5x10 _x17 5x3",
            },  # a gap in the scrapes
            {},
        ],
    ),
    "ApplicationErrorsHigh": (
        [{COUNT % "200": "0+94x30", COUNT % "502": "0+6x30"}],
        [
            {COUNT % "200": "0+96x30", COUNT % "502": "0+4x30"},
            {COUNT % "200": "0+94x30", COUNT % "404": "0+60x30"},
            {COUNT % "502": "0+1x30"},  # one request a minute: all of it is too little
            {COUNT % "200": "0+94x30", COUNT % "502": "0x27 60x3"},  # not long enough
            {},
        ],
    ),
    "ApplicationLatencyHigh": ([SLOW], [FAST, {BUCKET % "+Inf": "0x30"}, {}]),
    "ApplicationRateLimited": (
        [{COUNT % "429": "0+11x30"}],
        [{COUNT % "429": "0+9x30"}, {COUNT % "403": "0+50x30"}, {}],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    if why := prometheus.missing():
        pytest.skip(why)


def test_they_are_rules_of_prometheus(tmp_path: Path) -> None:
    """Expressions, durations and templates can be read."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    code, printed = prometheus.promtool("check", "rules", tmp_path / "rules.yml")
    assert code == 0, printed
    assert f"{len(METRICS) + len(ALERTS)} rules found" in printed


def test_the_alerts_use_nothing_but_the_first_group() -> None:
    """Whoever has other metrics changes that group alone, and each of it is used."""
    made = {rule["record"] for rule in METRICS}
    used = {
        name for rule in ALERTS for name in re.findall(r"[a-z_]+:\S+:\w+", rule["expr"])
    }
    assert used == made
    for rule in ALERTS:
        assert "http_" not in rule["expr"]
        assert "celery" not in rule["expr"]


def test_each_rule_of_the_guide_has_its_twin() -> None:
    """The same conditions, bounds and severities as in the file for Sentry."""
    rules = read(str(REPOSITORY / "examples" / "lms" / "alerts.toml"))
    sentry = [*rules.issues, *rules.metrics]
    twins = [rule for rule in ALERTS if rule["alert"] != "ApplicationMetricsAbsent"]
    assert [each.severity for each in sentry] == [
        rule["labels"]["severity"] for rule in twins
    ]
    bounds = [rule.above for rule in rules.metrics]
    shown = [float(re.findall(r"> ([0-9.]+)", rule["expr"])[0]) for rule in twins[1:]]
    assert [bounds[0], bounds[1] / 1000, bounds[2]] == shown  # milliseconds there


@pytest.mark.parametrize("name", [rule["alert"] for rule in ALERTS])
def test_an_alert_fires_when_it_should_and_else_not(name: str, tmp_path: Path) -> None:
    """Also without any series, and at the edge of its bound."""
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(RULES))
    fires, quiet = CASES[name]
    tests = [of_promtool(name, series, fires=True) for series in fires]
    tests += [of_promtool(name, series, fires=False) for series in quiet]
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": tests,
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    code, printed = prometheus.promtool("test", "rules", tmp_path / "tests.yml")
    assert code == 0, printed


def of_promtool(alert: str, series: dict[str, str], *, fires: bool) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": values} for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
