"""The fields of Sentry's webhooks that are read. Every other field is skipped unread.

They are those of docs.sentry.io, "Integration Platform, Webhooks": `issue-alerts`,
`metric-alerts` and `issues`. A detail of an odd type counts as one that is not there:
what an alert is about has to be known, and nothing else.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Event(Struct):
    """The event that triggered a rule."""

    issue_id: str | int
    project: Any = None
    level: Any = None
    culprit: Any = None
    metadata: Any = None
    release: Any = None
    environment: Any = None
    tags: Any = None
    url: Any = None
    web_url: Any = None


class RuleAction(Struct):
    """What somebody chose in the form of the integration's action, if it has one."""

    settings: Any = None


class EventAlertData(Struct):
    """What `event_alert` brings."""

    event: Event
    triggered_rule: Any = None
    issue_alert: RuleAction | None = None


class EventAlert(Struct):
    """The resource `event_alert`."""

    data: EventAlertData


class Issue(Struct):
    """An issue whose state has changed."""

    id: str | int
    status: Any = None


class IssueData(Struct):
    """What `issue` brings."""

    issue: Issue


class IssueChange(Struct):
    """The resource `issue`."""

    data: IssueData
    action: str = ""


class ApiProject(Struct):
    """The project of an issue."""

    slug: Any = None


class ApiIssue(Struct):
    """An issue as Sentry's web API tells it."""

    id: str | int
    status: Any = None
    level: Any = None
    culprit: Any = None
    permalink: Any = None
    metadata: Any = None
    first_seen: Any = field(name="firstSeen", default=None)
    project: ApiProject = field(default_factory=ApiProject)


class AlertRule(Struct):
    """The rule of a metric alert."""

    id: str | int | None = None
    name: Any = None
    environment: Any = None
    aggregate: Any = None


class MetricIncident(Struct):
    """One time that a metric crossed its threshold."""

    id: str | int | None = None
    title: Any = None
    projects: Any = None
    alert_rule: AlertRule = field(default_factory=AlertRule)


class MetricAlertData(Struct):
    """What `metric_alert` brings."""

    metric_alert: MetricIncident
    description_text: Any = None
    web_url: Any = None


class MetricAlert(Struct):
    """The resource `metric_alert`."""

    data: MetricAlertData
    action: str = ""
