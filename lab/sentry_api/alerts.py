"""The monitors and alerts of an organization, as Sentry calls them: detectors, workflows.

What it answers differs from what it was given, as with a real one: ids and names are added,
conditions come in another order, numbers in another form.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from lab.sentry_api.request import ABSENT, Reply, page_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from lab.sentry_api.request import Request

_WHEN = "2026-01-31T12:00:00.000000Z"


class Alerts:
    """The monitors and alerts, and the integrations that an alert may call."""

    def __init__(self, project_id: Callable[[str], int | None]) -> None:
        self._project_id = project_id
        self.monitors: list[dict[str, Any]] = []
        self.alerts: list[dict[str, Any]] = []
        self.apps: dict[str, int] = {}
        """By slug, the id of each installed integration."""
        self.is_older = False
        """Whether it has only the API before this one."""
        self._ids = itertools.count(1001)

    def add_project(self, number: int) -> None:
        """Make the monitors that each project has."""
        for kind in ("error", "issue_stream"):
            self._monitor({"name": f"{kind} monitor", "type": kind}, number)

    def undescribed(self, request: Request) -> Reply | None:
        """Answer for the API before this one, if it is there; `None` if it is not."""
        match request.path:
            case ("projects", _, _, "rules") if self.is_older:
                return Reply(200, [])
            case _:
                return None

    def answer(self, request: Request) -> Reply | None:
        """Answer a request for alerts; `None` if it is for something else."""
        match request.path:
            case ("organizations", _, "projects", slug, "detectors"):
                return self._made_monitor(request, slug)
            case ("organizations", _, "detectors", *which):
                return self._monitors(request, which)
            case ("organizations", _, "workflows", *which):
                return self._alerts(request, which)
            case ("organizations", organization, "sentry-app-installations"):
                return page_of(
                    request,
                    [
                        {
                            "app": {
                                "uuid": f"{id_:032x}",
                                "slug": slug,
                                "sentryAppId": id_,
                            },
                            "organization": {"slug": organization},
                            "uuid": f"{id_:032x}",
                            "status": "installed",
                        }
                        for slug, id_ in self.apps.items()
                    ],
                )
            case _:
                return None

    def _made_monitor(self, request: Request, slug: str) -> Reply:
        number = self._project_id(slug)
        if number is None or self.is_older:
            return ABSENT
        return Reply(201, self._monitor(request.body, number))

    def _monitors(self, request: Request, which: list[str]) -> Reply:
        if self.is_older:
            return ABSENT
        if which:
            return self._one(request, self.monitors, which[0], self._monitor)
        ids = {str(self._project_id(slug)) for slug in request.query.get("project", [])}
        found = [each for each in self.monitors if not ids or each["projectId"] in ids]
        return page_of(request, found)

    def _alerts(self, request: Request, which: list[str]) -> Reply:
        if which:
            return self._one(request, self.alerts, which[0], self._alert)
        if request.method == "POST":
            return Reply(201, self._alert(request.body))
        return page_of(request, self.alerts)

    def _one(
        self,
        request: Request,
        every: list[dict[str, Any]],
        id_: str,
        made: Callable[..., dict[str, Any]],
    ) -> Reply:
        thing = next((each for each in every if each["id"] == id_), None)
        if thing is None:
            return ABSENT
        if request.method == "DELETE":
            every.remove(thing)
            return Reply(204)
        if request.method == "PUT":
            new = made(request.body, thing.get("projectId"))
            every.remove(new)
            every[every.index(thing)] = new | {"id": id_}
        return Reply(200, next(each for each in every if each["id"] == id_))

    def _monitor(self, body: dict[str, Any], number: Any) -> dict[str, Any]:
        group = body.get("condition_group")
        monitor = {
            "id": str(next(self._ids)),
            "projectId": str(number),
            "name": body["name"],
            "type": body["type"],
            "enabled": body.get("enabled", True),
            "owner": None,
            "createdBy": None,
            "description": body.get("description"),
            "latestGroup": None,
            "workflowIds": [],
            "dateCreated": _WHEN,
            "dateUpdated": _WHEN,
            "dataSources": [
                self._source(each) for each in body.get("data_sources", [])
            ],
            "conditionGroup": None
            if group is None
            else self._group(group, "logic_type"),
            "config": body.get("config", {}),
        }
        self.monitors.append(monitor)
        return monitor

    def _source(self, body: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": str(next(self._ids)),
            "organizationId": "1",
            "type": "snuba_query_subscription",
            "sourceId": str(next(self._ids)),
            "queryObj": {
                "id": str(next(self._ids)),
                "status": 0,
                "subscription": None,
                "snubaQuery": body | {"id": str(next(self._ids)), "queryType": None},
            },
        }

    def _group(self, body: dict[str, Any], logic: str) -> dict[str, Any]:
        return {
            "id": str(next(self._ids)),
            "organizationId": "1",
            "logicType": body[logic],
            "conditions": [
                {**each, "id": str(next(self._ids)), "comparison": _as_float(each)}
                for each in reversed(body["conditions"])
            ],
            "actions": [],
        }

    def _alert(self, body: dict[str, Any], *_: object) -> dict[str, Any]:
        filters = [
            self._group(each, "logicType")
            | {
                "actions": [
                    {**action, "id": str(next(self._ids))}
                    | {"config": {**action["config"], "targetDisplay": "the bridge"}}
                    for action in each["actions"]
                ]
            }
            for each in body.get("action_filters", [])
        ]
        alert = {
            "id": str(next(self._ids)),
            "name": body["name"],
            "organizationId": "1",
            "createdBy": None,
            "dateCreated": _WHEN,
            "dateUpdated": _WHEN,
            "lastTriggered": None,
            "owner": None,
            "triggers": self._group(body["triggers"], "logic_type"),
            "actionFilters": filters,
            "environment": body.get("environment"),
            "config": body["config"],
            "detectorIds": [str(each) for each in body.get("detector_ids", [])],
            "enabled": body.get("enabled", True),
        }
        self.alerts.append(alert)
        return alert


def _as_float(condition: dict[str, Any]) -> Any:
    """Return a whole number as the server may give it: 2000 as 2000.0."""
    value = condition["comparison"]
    return float(value) if type(value) is int else value
