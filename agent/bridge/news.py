"""What a webhook says: an alert opens, or what alerts are about is over. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple, TypeVar

import msgspec

from agent.bridge import payloads, text
from agent.observe.converting import convert
from resentry import formats

T = TypeVar("T")
CRITICAL, WARNING, INFO = "critical", "warning", "info"
RESOURCES = ("event_alert", "issue", "metric_alert")
OTHER = "other"
"""Every other resource."""
SEVERITIES = (CRITICAL, WARNING, INFO)
OF_LEVEL = {"fatal": CRITICAL, "error": CRITICAL, "warning": WARNING}
"""The severity of an issue's level. Every other level is `info`."""
OVER = frozenset({"resolved", "archived", "ignored"})
"""The actions of `issue` after which nobody waits for a person any more."""
CANARY_TAG = "resentry_canary"
"""The tag of an event that the bridge itself has sent: when it was sent."""
_MARKED = re.compile(r"\[(critical|warning|info)\]", re.IGNORECASE)
_PROJECT = re.compile(r"/projects/[^/]+/([^/]+)/")


class NotUnderstood(ValueError):
    """The body does not say what it is about."""


class Alert(NamedTuple):
    """An alert as an Alertmanager gets it. Its labels are its identity."""

    labels: dict[str, str]
    annotations: dict[str, str]
    url: str = ""

    @property
    def key(self) -> str:
        """The identity as one text."""
        return msgspec.json.encode(self.labels, order="sorted").decode()

    @property
    def severity(self) -> str:
        """How bad it is."""
        return self.labels.get("severity", INFO)


class News(NamedTuple):
    """What is new about one subject, as `issue:1170820242` or `metric:7`.

    With `opens` that alert is open from now on. Without it, every alert of the subject is
    over. `is_only`: no other alert of the subject stays open beside the one that opens.
    """

    subject: str
    opens: Alert | None = None
    is_only: bool = False
    canary: float = 0.0
    """When the canary was sent that this is; 0 for anything else."""


_DECODERS: dict[type, msgspec.json.Decoder[Any]] = {
    form: msgspec.json.Decoder(form)
    for form in (payloads.EventAlert, payloads.IssueChange, payloads.MetricAlert)
}
"""Made once: threads that make one at the same moment crash msgspec 0.22."""


def read(resource: str, body: bytes) -> News | None:
    """Return what a webhook says; `None` if it says nothing that concerns an alert.

    Raises `NotUnderstood`.
    """
    try:
        if resource == "event_alert":
            return _of_event(_decoded(body, payloads.EventAlert).data)
        if resource == "issue":
            change = _decoded(body, payloads.IssueChange)
            subject = f"issue:{_id(change.data.issue.id)}"
            return News(subject) if change.action in OVER else None
        if resource == "metric_alert":
            return _of_metric(_decoded(body, payloads.MetricAlert))
    except (ValueError, RecursionError) as error:
        raise NotUnderstood(text.shown(str(error))) from None
    return None


def _decoded(body: bytes, form: type[T]) -> T:
    """Return the fields that are read. Python's JSON has more than the standard allows.

    Sentry writes it with Python, so half an emoji or a NaN may come in any event.
    """
    try:
        found: T = _DECODERS[form].decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        return convert(json.loads(body), form)
    return found


def _id(value: object) -> str:
    found = text.name(value)
    if not found:
        raise NotUnderstood("the id is empty, or has an odd form")
    return found


def _of_event(data: payloads.EventAlertData) -> News:
    event, rule = data.event, text.shown(data.triggered_rule)
    tags = _tags(event.tags)
    if CANARY_TAG in tags:
        return News("canary", canary=_sent_at(tags[CANARY_TAG]))
    issue = _id(event.issue_id)
    match = _PROJECT.search(event.url) if isinstance(event.url, str) else None
    project = text.label(match[1] if match else event.project)
    level = event.level if isinstance(event.level, str) else "error"
    severity = _chosen(data.issue_alert) or _marked(rule) or OF_LEVEL.get(level, INFO)
    labels = {
        "environment": text.label(event.environment or tags.get("environment")),
        "issue": issue,
        "project": project,
        "severity": severity,
    }
    annotations = {
        "description": f"Sentry's rule {rule or 'without a name'} was triggered by an "
        f"event of issue {issue}.",
        "rule": rule,
        "release": text.shown(event.release or tags.get("release")),
    }
    of = Details(level, event.metadata, event.culprit, event.web_url)
    return News(f"issue:{issue}", _of_issue(labels, annotations, of))


def read_issue(issue: payloads.ApiIssue, environment: str) -> News:
    """Return the news that an issue of Sentry's API is open. Raises `NotUnderstood`."""
    number = _id(issue.id)
    level = issue.level if isinstance(issue.level, str) else "error"
    labels = {
        "environment": text.label(environment),
        "issue": number,
        "project": text.label(issue.project.slug),
        "severity": OF_LEVEL.get(level, INFO),
    }
    annotations = {
        "description": f"Sentry's API tells of issue {number}. No webhook of it came.",
    }
    of = Details(level, issue.metadata, issue.culprit, issue.permalink)
    return News(f"issue:{number}", _of_issue(labels, annotations, of))


class Details(NamedTuple):
    """What an event and an issue say alike, as it came."""

    level: str
    metadata: object
    culprit: object
    url: object


def _of_issue(
    labels: dict[str, str], annotations: dict[str, str], of: Details
) -> Alert:
    metadata = of.metadata if isinstance(of.metadata, dict) else {}
    kind = text.shown(text.name(metadata.get("type")) or of.level)
    where, link = text.place(of.culprit), text.url(of.url)
    project = labels["project"] or "unknown"
    place = f" in {where}" if where else ""
    summary = f"{kind} in project {project}{place}"
    return _alert(
        {"alertname": "SentryIssue", "source": "sentry", **labels},
        {"summary": summary, **annotations, "culprit": where, "url": link},
        link,
    )


def _of_metric(alert: payloads.MetricAlert) -> News | None:
    data, incident = alert.data, alert.data.metric_alert
    rule = _id(
        incident.id if incident.alert_rule.id is None else incident.alert_rule.id
    )
    subject = f"metric:{rule}"
    if alert.action == "resolved":
        return News(subject)
    if alert.action not in (CRITICAL, WARNING):
        return None
    projects = incident.projects if isinstance(incident.projects, list) else []
    title = text.shown(incident.alert_rule.name) or text.shown(incident.title)
    labels = {
        "alertname": "SentryMetricAlert",
        "environment": text.label(incident.alert_rule.environment),
        "project": ",".join(sorted(filter(None, map(text.label, projects)))),
        "rule": rule,
        "severity": alert.action,
        "source": "sentry",
    }
    annotations = {
        "summary": title or f"metric alert {rule}",
        "description": text.shown(data.description_text),
        "aggregate": text.shown(incident.alert_rule.aggregate),
        "url": (link := text.url(data.web_url)),
    }
    return News(subject, _alert(labels, annotations, link), is_only=True)


def _alert(labels: dict[str, str], annotations: dict[str, str], url: str) -> Alert:
    """Leave out what is empty: an Alertmanager drops an empty label."""
    return Alert(
        {name: value for name, value in labels.items() if value},
        {name: value for name, value in annotations.items() if value},
        url,
    )


def _tags(tags: object) -> dict[str, Any]:
    """Return the tags that are read, of a list of pairs."""
    pairs = tags if isinstance(tags, list) else []
    return {
        pair[0]: pair[1]
        for pair in pairs
        if isinstance(pair, list)
        and len(pair) == 2
        and pair[0] in ("environment", "release", CANARY_TAG)
    }


def _sent_at(value: object) -> float:
    try:
        return formats.number(value)
    except ValueError:
        raise NotUnderstood("the time of a canary is no number") from None


def _chosen(action: payloads.RuleAction | None) -> str:
    """Return the severity that was chosen in the form of the integration's action."""
    settings = action.settings if action is not None else None
    for each in settings if isinstance(settings, list) else []:
        if isinstance(each, dict) and each.get("name") == "severity":
            value = str(each.get("value")).lower()
            return value if value in SEVERITIES else ""
    return ""


def _marked(rule: str) -> str:
    """Return the severity that a rule's name has in brackets."""
    match = _MARKED.search(rule)
    return match[1].lower() if match else ""
