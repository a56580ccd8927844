"""What must change on the server, so that it holds what a file says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, NamedTuple

from agent.alerts import bodies
from agent.alerts.compare import alert_fields, differences, monitor_fields
from agent.errors import WishRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent.alerts.bodies import Body
    from agent.alerts.rule_file import RuleFile

Kind = Literal["monitor", "alert"]
Verb = Literal["create", "change", "delete"]
OWN_MONITOR = "error"
"""The type of the monitor that every project has."""
ERRORS = "the project's errors"
"""How differences name that monitor."""


class Held(NamedTuple):
    """What the server holds of one project."""

    monitors: list[Body]
    alerts: list[Body]

    def errors(self) -> str:
        """Return the id of the project's own error monitor. Raises `WishRefused`."""
        found = [each for each in self.monitors if each.get("type") == OWN_MONITOR]
        if len(found) != 1:
            raise WishRefused(
                f"the server has {len(found)} error monitors for this project",
                "check RESENTRY_SENTRY_PROJECT; give the project's number, if its name "
                "does not single it out",
            )
        if not found[0].get("enabled", True):
            raise WishRefused(
                "the project's own error monitor is switched off: no rule of [[issues]] "
                "can tell anything",
                "switch it on in Sentry, under Monitors; apply does not touch it",
            )
        return str(found[0]["id"])


class Change(NamedTuple):
    """One thing to do at the server."""

    verb: Verb
    kind: Kind
    name: str
    id: str = ""
    details: tuple[str, ...] = ()


def plan(rules: RuleFile, held: Held, app: str) -> list[Change]:
    """Return the changes, in the order in which they can be made.

    An alert refers to a monitor: monitors come first, and go last. Raises `WishRefused` if
    two things on the server have the same name.
    """
    monitors = named("monitor", rules, held.monitors)
    alerts = named("alert", rules, held.alerts)
    _must_be_of_project(alerts, {str(each["id"]) for each in held.monitors})
    wanted_monitors = {
        rules.name_of(rule): bodies.monitor_of(rules, rule) for rule in rules.metrics
    }
    errors = held.errors() if rules.issues else ""
    names = {str(each["id"]): name for name, each in monitors.items()}
    names[errors] = ERRORS
    # A monitor that is still to be made has a number that no server gives.
    ids = {name: f"-{at}" for at, name in enumerate(wanted_monitors, 1)}
    ids |= {name: str(each["id"]) for name, each in monitors.items()}
    wanted_alerts = wanted(rules, ids, errors, app)
    names |= {id_: name for name, id_ in ids.items()}
    return [
        *_changes(
            "monitor",
            {name: monitor_fields(each) for name, each in wanted_monitors.items()},
            {name: (each, monitor_fields(each)) for name, each in monitors.items()},
        ),
        *_changes(
            "alert",
            {name: alert_fields(each, names) for name, each in wanted_alerts.items()},
            {name: (each, alert_fields(each, names)) for name, each in alerts.items()},
        ),
        *_gone("alert", alerts, wanted_alerts),
        *_gone("monitor", monitors, wanted_monitors),
    ]


def wanted(
    rules: RuleFile, monitors: Mapping[str, str], errors: str, app: str
) -> dict[str, Body]:
    """Return the wanted alerts by their names; `monitors` has ids by names."""
    of_issues = {
        rules.name_of(rule): bodies.alert_of_issues(rules, rule, app, errors)
        for rule in rules.issues
    }
    return of_issues | {
        (name := rules.name_of(rule)): bodies.alert_of_metric(
            rules, rule, app, monitors[name]
        )
        for rule in rules.metrics
    }


def named(kind: Kind, rules: RuleFile, every: Iterable[Body]) -> dict[str, Body]:
    """Return what is ours, by name. Raises `WishRefused` if a name stands there twice."""
    ours = [each for each in every if str(each.get("name")).startswith(rules.mark)]
    for name, count in Counter(str(each["name"]) for each in ours).items():
        if count > 1:
            ids = [str(each["id"]) for each in ours if each["name"] == name]
            raise WishRefused(
                f"the server has {count} {kind}s with the name {name!r}: "
                f"{', '.join(ids)}",
                "delete all but one of them in Sentry; two runs of apply at once make such",
            )
    return {str(each["name"]): each for each in ours}


def _must_be_of_project(alerts: Mapping[str, Body], monitors: set[str]) -> None:
    """Raise `WishRefused` for an alert that watches only monitors of other projects."""
    for name, alert in alerts.items():
        watched = {str(each) for each in alert.get("detectorIds") or ()}
        if watched and not watched & monitors:
            raise WishRefused(
                f"the alert {name!r} watches another project of this organization",
                "give the file of each project a `name` of its own; if somebody pointed "
                "the alert there by hand, delete it in Sentry",
            )


def _changes(
    kind: Kind,
    wanted: Mapping[str, dict[str, object]],
    found: Mapping[str, tuple[Body, dict[str, object]]],
) -> Iterator[Change]:
    for name, fields in wanted.items():
        if name not in found:
            yield Change("create", kind, name)
            continue
        body, there = found[name]
        if details := tuple(differences(fields, there)):
            yield Change("change", kind, name, str(body["id"]), details)


def _gone(
    kind: Kind, found: Mapping[str, Body], wanted: Mapping[str, Body]
) -> Iterator[Change]:
    for name, body in found.items():
        if name not in wanted:
            yield Change("delete", kind, name, str(body["id"]))
