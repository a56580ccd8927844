"""The bodies of webhooks, as Sentry documents them: tests/data/sentry-webhooks.json."""

import json
from typing import Any

import jsonschema
import pytest
from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from agent.bridge import news, payloads
from lab import bridge as sentry
from lab.paths import REPOSITORY

DOCUMENTED: dict[str, Any] = json.loads(
    (REPOSITORY / "tests" / "data" / "sentry-webhooks.json").read_text()
)
BODIES = {
    "event_alert": [sentry.event_alert()],
    "issue": [sentry.issue(action=action) for action in ("created", "resolved")],
    "metric_alert": [
        sentry.metric_alert(action) for action in ("critical", "warning", "resolved")
    ],
}
READ: dict[str, type[Struct]] = {
    "event_alert": payloads.EventAlert,
    "issue": payloads.IssueChange,
    "metric_alert": payloads.MetricAlert,
}
NOT_DOCUMENTED = {"event_alert.data.event.environment"}
"""Sentry sends it; the documented place is a tag, which is read as well."""


def schema_of(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENTED[resource]["schema"]
    return found


@pytest.mark.parametrize("resource", news.RESOURCES)
def test_what_the_tests_send_is_what_sentry_documents(resource: str) -> None:
    """Each body of a test is valid, and the page that says so is named."""
    assert DOCUMENTED[resource]["source"].startswith("https://docs.sentry.io/")
    for body in BODIES[resource]:
        jsonschema.Draft202012Validator(schema_of(resource)).validate(body)


@pytest.mark.parametrize("resource", news.RESOURCES)
def test_each_field_that_is_read_is_documented(resource: str) -> None:
    """And no field that must be there may be missing by the documentation."""
    found = list(_read(READ[resource], schema_of(resource), resource))
    assert {path for path, known, _ in found if not known} <= NOT_DOCUMENTED
    assert [path for path, _, is_safe in found if not is_safe] == []


def _read(struct: Any, schema: dict[str, Any], path: str) -> Any:
    """Return each field with whether it is known, and whether its lack would be documented."""
    for each in fields(struct):
        name = f"{path}.{each.encode_name}"
        part = schema.get("properties", {}).get(each.encode_name)
        is_required = each.required and each.default is NODEFAULT
        is_there = each.encode_name in schema.get("required", ())
        yield name, part is not None, is_there or not is_required
        kinds = [each.type, *getattr(each.type, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, Struct) and part:
                yield from _read(kind, part, name)


@pytest.mark.parametrize("resource", news.RESOURCES)
def test_the_least_that_is_documented_is_understood(resource: str) -> None:
    """With the required fields alone, each as empty as the documentation allows."""
    schema = schema_of(resource)
    for action in schema["properties"]["action"]["enum"]:
        body = _least(schema) | {"action": action}
        jsonschema.validate(body, schema)
        said = news.read(resource, json.dumps(body).encode())
        if said is None:
            assert (resource, action) in {
                *(("issue", "created"), ("issue", "assigned")),
                ("issue", "unresolved"),
            }
        else:
            assert said.subject.endswith(":5")


def _least(schema: dict[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema["type"]
    if isinstance(kind, list):
        return None if "null" in kind else _least({"type": kind[0]})
    if kind == "object":
        parts = schema.get("properties", {})
        least = {name: _least(parts[name]) for name in schema.get("required", ())}
        ids = [name for name in ("id", "issue_id") if name in least]
        return least | dict.fromkeys(ids, "5")
    return {"string": "", "integer": 0, "number": 0, "array": [], "boolean": False}[
        kind
    ]
