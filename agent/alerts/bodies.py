"""What the rules of a file are on the server: a monitor and an alert, as Sentry takes them.

A rule on issues is an alert of the project's own error monitor. A rule on a measure is a
monitor of its own, and an alert of that. The names of the fields are those of
https://docs.sentry.io/api/monitors/, where monitors are "detectors" and alerts are
"workflows".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.alerts.rule_file import IssueRule, MetricRule, Rule, RuleFile

Body = dict[str, Any]

TRIGGERS = {
    "new": "first_seen_event",
    "regressed": "regression_event",
    "escalating": "reappeared_event",
    "resolved": "issue_resolved_trigger",
}
PRIORITIES = {"critical": 75, "warning": 50}
"""The priority of the issue that a monitor opens. 0 closes it."""
_SPANS = "events_analytics_platform"


def monitor_of(rules: RuleFile, rule: MetricRule) -> Body:
    """Return the monitor that measures."""
    return {
        "name": rules.name_of(rule),
        "type": "metric_issue",
        "enabled": rule.is_on,
        "data_sources": [
            {
                "aggregate": rule.measure,
                "dataset": _SPANS,
                "environment": rules.environment or None,
                "eventTypes": ["trace_item_span"],
                "query": rule.query,
                "queryType": 1,
                "timeWindow": rule.seconds,
                "extrapolationMode": "unknown",
            }
        ],
        "config": {"detectionType": "static"},
        "condition_group": {
            "logic_type": "any",
            "conditions": [
                _condition("gt", rule.above, PRIORITIES[rule.severity]),
                _condition("lte", rule.above, 0),
            ],
        },
    }


def alert_of_issues(rules: RuleFile, rule: IssueRule, app: str, monitor: str) -> Body:
    """Return the alert of the project's error monitor."""
    filters = [
        _condition(
            "tagged_event", {"key": key, "match": "eq", "value": value}, result=True
        )
        for key, value in sorted(rule.tags.items())
    ]
    if rule.more_than is not None:
        count = {"value": rule.more_than, "interval": rule.per}
        filters.append(_condition("event_frequency_count", count, result=True))
    return _alert(rules, rule, rule.when, filters, (app, monitor))


def alert_of_metric(rules: RuleFile, rule: MetricRule, app: str, monitor: str) -> Body:
    """Return the alert of the rule's own monitor, which tells its end, too."""
    return _alert(rules, rule, tuple(TRIGGERS), [], (app, monitor))


def _alert(
    rules: RuleFile,
    rule: Rule,
    when: Sequence[str],
    filters: list[Body],
    ids: tuple[str, str],
) -> Body:
    app, monitor = ids
    return {
        "name": rules.name_of(rule),
        "enabled": rule.is_on,
        "environment": rules.environment or None,
        "detector_ids": [int(monitor)] if monitor else [],
        "config": {"frequency": rule.minutes},
        "triggers": {
            "logic_type": "any-short",
            "conditions": [
                _condition(TRIGGERS[each], comparison=True, result=True)
                for each in when
            ],
        },
        "action_filters": [
            {"logicType": "all", "conditions": filters, "actions": [_call(app)]}
        ],
    }


def _condition(kind: str, comparison: Any, result: float) -> Body:
    return {"type": kind, "comparison": comparison, "conditionResult": result}


def _call(app: str) -> Body:
    """Return the action that has Sentry call the bridge."""
    return {
        "type": "sentry_app",
        "integrationId": None,
        "data": {"settings": []},
        "config": {
            "targetType": "sentry_app",
            "targetIdentifier": app,
            "targetDisplay": None,
        },
        "status": "active",
    }
