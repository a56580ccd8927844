"""Compares what a file wants with what the server holds, without what the server adds.

The server adds ids, dates and names. It gives conditions in any order, and numbers in
either form. So both sides are written in one form, as short texts that people can read.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.alerts.bodies import Body

Fields = dict[str, Any]
"""By name: one value, or a sorted list of texts. `None` is what the server does not say."""


def monitor_fields(body: Body) -> Fields:
    """Return what counts of a monitor, of a request or of an answer."""
    sources = _get(body, "data_sources") or []
    if len(sources) != 1:
        return {"sources": len(sources)}
    (source,) = sources
    subscription = source.get("queryObj") or {}
    query = subscription.get("snubaQuery") or source
    group = _get(body, "condition_group") or {}
    return {
        "type": body.get("type"),
        "on": body.get("enabled", True),
        "sources": 1,
        "measuring": subscription.get("status") or 0,
        "measure": query.get("aggregate"),
        "dataset": query.get("dataset"),
        "environment": query.get("environment") or "",
        "events": sorted(query.get("eventTypes") or []),
        "query": query.get("query") or "",
        "window in seconds": query.get("timeWindow"),
        "extrapolation": query.get("extrapolationMode"),
        "detection": (body.get("config") or {}).get("detectionType"),
        "compared with seconds ago": (body.get("config") or {}).get("comparisonDelta"),
        "conditions": _group(group),
    }


def alert_fields(body: Body, names: Mapping[str, str]) -> Fields:
    """Return what counts of an alert; `names` has the monitors' names by their ids."""
    monitors = _get(body, "detector_ids") or []
    filters = _get(body, "action_filters") or []
    return {
        "on": body.get("enabled", True),
        "environment": body.get("environment") or "",
        "monitors": sorted(
            names.get(str(each), f"monitor {each}") for each in monitors
        ),
        "minutes": (body.get("config") or {}).get("frequency"),
        "when": _group(body.get("triggers") or {}),
        "filters and actions": sorted(map(_filter, filters)),
    }


def differences(wanted: Fields, found: Fields) -> Iterator[str]:
    """Say what a server must change. Empty if nothing."""
    for name in sorted({*wanted, *found}):
        old, new = found.get(name), wanted.get(name)
        if old == new or (name == "extrapolation" and old is None):
            continue  # an older server does not know extrapolation
        if isinstance(old, list) and isinstance(new, list):
            yield from (f"{name}: - {each}" for each in old if each not in new)
            yield from (f"{name}: + {each}" for each in new if each not in old)
            if sorted({*old}) == sorted({*new}):  # one of them stands there twice
                yield f"{name}: {len(old)} -> {len(new)} entries"
        else:
            yield f"{name}: {_shown(old)} -> {_shown(new)}"


def _get(body: Body, name: str) -> Any:
    """Return a field, which the API takes as `logic_type` and gives as `logicType`."""
    if name in body:
        return body[name]
    first, *rest = name.split("_")
    return body.get(first + "".join(map(str.capitalize, rest)))


def _group(group: Body) -> list[str]:
    conditions = sorted(map(_condition, group.get("conditions") or []))
    return [f"{_get(group, 'logic_type')} of {each}" for each in conditions]


def _filter(group: Body) -> str:
    conditions = sorted(map(_condition, group.get("conditions") or []))
    actions = sorted(map(_action, group.get("actions") or []))
    logic = _get(group, "logic_type")
    of = f"if {logic} of ({'; '.join(conditions)}) " if conditions else ""
    return f"{of}do {'; '.join(actions) or 'nothing'}"


def _condition(condition: Body) -> str:
    result = _get(condition, "condition_result")
    of = "" if result is True else f" gives {_shown(result)}"
    return f"{condition.get('type')} {_shown(condition.get('comparison'))}{of}"


def _action(action: Body) -> str:
    config, data = action.get("config") or {}, action.get("data") or {}
    settings = f" {_shown(data)}" if any(data.values()) else ""
    status = action.get("status") or "active"
    off = "" if status == "active" else f", {status}"
    kind, target = action.get("type"), config.get("targetType")
    whom = f"{config.get('targetIdentifier')}"
    if target not in (kind, None):
        whom = f"{target} {whom}"
    if action.get("integrationId"):
        whom += f" by integration {action['integrationId']}"
    return f"{kind} {whom}{settings}{off}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return numbers in one form: 2000 and 2000.0 are the same."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
