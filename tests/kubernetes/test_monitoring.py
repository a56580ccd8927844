"""k8s/monitoring: what Prometheus scrapes, which alerts it has, and what Grafana shows."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from alert_cases import CASES, Series
from manifests import K8S, WITH_AGENT, agent, named, overlay, workloads

from agent.bridge.metrics import BridgeMetrics
from agent.observe.metrics import Metrics
from docs.generate import LABELS, labels_of, runbook_page
from lab import kustomize, prometheus
from lab.paths import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process

FOLDER = K8S / "monitoring"
OF_SCRAPE = {"job", "le", "namespace", "pod"}
"""The labels that Prometheus or the PodMonitor adds."""
WORDS = {
    *("absent", "and", "by", "changes", "count", "delta", "histogram_quantile"),
    *("increase", "max", "max_over_time", "min", "offset", "or", "rate", "sum"),
    *("time", "unless", "without"),
}
"""What an expression may hold, except metrics."""
POD = ',namespace="shop",pod="api-1"'


@pytest.fixture(scope="module", autouse=True)
def _promtool() -> None:
    if why := prometheus.missing():
        pytest.skip(why)


@cache
def rules() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / "rules.yaml").read_text())
    return manifest["spec"]


def alerts() -> dict[str, dict[str, Any]]:
    found = [rule for group in rules()["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in found}


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Every expression, by the name of its alert or panel."""
    found = {name: rule["expr"] for name, rule in alerts().items()}
    for panel in panels():
        for number, target in enumerate(panel["targets"]):
            found[f"{panel['title']} {number}"] = target["expr"]
    return found


@cache
def exported() -> dict[str, set[str]]:
    """The label names of every series that the agent exports, by the name of the series."""
    suffixes = {
        "counter": ("_total",),
        "histogram": ("_bucket", "_sum", "_count"),
        "info": ("_info",),
    }
    registries = (Metrics("0").registry, BridgeMetrics("0", ("am:9093",)).registry)
    return {
        family.name + suffix: labels[family.name]
        for registry in registries
        if (labels := labels_of(registry))
        for family in registry.collect()
        if family.name in labels
        for suffix in suffixes.get(family.type, ("",))
    }


def identifiers(expression: str) -> set[str]:
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", expression)
    bare = re.sub(r"\b(by|without) \([^)]*\)", " ", bare)
    bare = re.sub(r"\b[0-9.]+[a-z]*\b", " ", bare)
    return set(re.findall(r"[a-z_][a-z0-9_]*", bare)) - WORDS


@pytest.mark.parametrize("name", expressions())
def test_an_expression_uses_what_the_agent_exports(name: str) -> None:
    """A metric or a label that nobody exports would never fire, and nobody would notice."""
    expression = expressions()[name]
    names = identifiers(expression)
    assert names
    assert names - {"up"} <= exported().keys()
    known = set().union(*(exported().get(each, set()) for each in names)) | OF_SCRAPE
    used = re.findall(r"(\w+) *(?:=~|!~|!=|=) *\"", expression)
    grouped = re.findall(r"(?:by|without) \(([^)]*)\)", expression)
    used += [label for group in grouped for label in re.split(r", *", group)]
    assert set(used) <= known


def test_the_alerts_are_rules_of_prometheus(tmp_path: Path) -> None:
    """Expressions, durations and templates can be read; so can the panels' expressions."""
    shown = [
        {"record": f"panel:{number}", "expr": expression}
        for number, expression in enumerate(expressions().values())
    ]
    groups = [*rules()["groups"], {"name": "panels", "rules": shown}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    code, printed = prometheus.promtool("check", "rules", tmp_path / "rules.yml")
    assert code == 0, printed
    assert f"{len(alerts()) + len(shown)} rules found" in printed


def test_the_metrics_are_as_prometheus_wants_them() -> None:
    """Names, units and help texts: `promtool check metrics` has nothing to say."""
    bridge = BridgeMetrics("0", ("am:9093",)).render({}, (), 0, "")
    for given in (Metrics("0").render(), bridge):
        assert prometheus.promtool("check", "metrics", given=given) == (0, "")


def of_promtool(alert: str, series: Series, minutes: int, count: int) -> dict[str, Any]:
    """One test of promtool: so many series of this alert fire after so many minutes."""
    samples = [{"labels": "{}", "value": count}] if count else []
    return {
        "interval": "1m",
        "input_series": [
            {"series": _in_a_pod(name), "values": values}
            for name, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
                "eval_time": f"{minutes}m",
                "exp_samples": samples,
            }
        ],
    }


def _in_a_pod(series: str) -> str:
    if series.endswith("}"):
        return series.removesuffix("}") + POD + "}"
    return f"{series}{{{POD.removeprefix(',')}}}"


@pytest.mark.parametrize("name", CASES)
def test_an_alert_fires_when_it_should_and_else_not(name: str, tmp_path: Path) -> None:
    """With the alert's own series, and with those beside it."""
    case = CASES[name]
    for series in (case.fires, *case.quiet):
        for given in series:
            metric, _, labels = given.partition("{")
            has = set(re.findall(r"(\w+)=", labels))
            own = exported().get(metric, set())
            assert has == own | (has & {"job", "le"}), given
    rule = alerts()[name]
    groups = [{"name": "one", "rules": [rule]}]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    cases = [
        of_promtool(name, case.fires, case.minutes, 1),
        *(of_promtool(name, series, case.minutes, 0) for series in case.quiet),
    ]
    document = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1m",
        "tests": cases,
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(document))
    code, printed = prometheus.promtool("test", "rules", tmp_path / "tests.yml")
    assert code == 0, printed


def test_every_alert_has_its_cases_and_its_entry_in_the_runbook() -> None:
    """No case without an alert, no alert without a page, no half of an entry."""
    assert [*CASES] == [*alerts()]
    page = (REPOSITORY / "docs" / "runbook.md").read_text()
    for name, rule in alerts().items():
        notes = rule["annotations"]
        assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert f'<a id="{name.lower()}"></a>' in page
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        for part in ("summary", "description", "meaning", "see", "do", "wake"):
            assert notes[part].strip().endswith((".", notes["see"])), (name, part)
        assert notes["wake"].startswith("Wake ")
    assert page == runbook_page()


def test_telemetry_that_ends_is_seen_from_both_sides() -> None:
    """A rate of 0 is as silent as a dead key, and an agent as silent as a process."""
    names = {*alerts()}
    assert {"ResentryErrorsOff", "ResentryTracesStopped", "ResentryTracesHigh"} <= names
    assert {"ResentryDsnRefused", "ResentryDsnDead", "ResentryNotSending"} <= names
    assert {"ResentryAbsent", "ResentryAgentRestarts", "ResentryNoTargets"} <= names


def test_every_metric_is_in_an_alert_or_in_a_panel() -> None:
    """What nobody looks at would only cost memory; some are for an operator's question."""
    used = set().union(*map(identifiers, expressions().values()))
    bases = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    unused = {
        name
        for name in exported()
        if name not in used and re.sub(r"_(bucket|sum|count)$", "", name) not in bases
    }
    assert unused == set()


def test_labels_are_explained_and_no_explanation_is_left_over() -> None:
    """In docs/metrics.md."""
    assert set().union(*exported().values()) == set(LABELS)


@pytest.mark.usefixtures("kubectl")
def test_the_folder_is_what_the_operator_reads() -> None:
    """The PodMonitor finds the sidecar's pods by the label and the port that they have.

    And the bridge's pod.
    """
    made = {one["kind"]: one for one in kustomize.build(FOLDER)}
    assert set(made) == {"PodMonitor", "PrometheusRule", "ConfigMap"}
    assert made["PrometheusRule"]["spec"] == rules()
    assert json.loads(made["ConfigMap"]["data"]["dashboard.json"])["title"]
    (endpoint,) = made["PodMonitor"]["spec"]["podMetricsEndpoints"]
    (found,) = made["PodMonitor"]["spec"]["selector"]["matchExpressions"]
    assert (found["key"], found["operator"]) == ("resentry", "In")
    for name in WITH_AGENT:
        for workload in workloads(overlay(name)):
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert labels["resentry"] in found["values"]
            named(agent(workload)["ports"], endpoint["port"])
    (bridge,) = workloads(kustomize.build(K8S / "bridge"))
    pod = bridge["spec"]["template"]
    assert pod["metadata"]["labels"]["resentry"] in found["values"]
    named(pod["spec"]["containers"][0]["ports"], endpoint["port"])
