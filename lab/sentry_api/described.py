"""The published description: its paths, and the JSON Schema of each body."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import jsonschema

from lab.paths import REPOSITORY

DESCRIPTION = REPOSITORY / "tests" / "data" / "sentry-web-api.json"


@lru_cache
def paths() -> dict[str, dict[str, Any]]:
    """Return every path with its operations."""
    found: dict[str, dict[str, Any]] = json.loads(DESCRIPTION.read_text())["paths"]
    return found


@lru_cache
def path_of(path: str) -> str | None:
    """Return the path of the description that matches."""
    for described in paths():
        pattern = re.sub(r"\{[^}]+\}", "[^/]+", described)
        if re.fullmatch(pattern, path):
            return described
    return None


def differences(holder: dict[str, Any] | None, value: object) -> list[str]:
    """Return where a body differs from what the description says of it."""
    content = (holder or {}).get("content", {}).get("application/json", {})
    schema = _with_null(content.get("schema", {}))
    found = jsonschema.Draft7Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def _with_null(schema: Any) -> Any:
    """Return a JSON Schema; OpenAPI 3.0 writes "or null" differently."""
    if isinstance(schema, list):
        return [_with_null(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {name: _with_null(value) for name, value in schema.items()}
    if plain.pop("nullable", None) is True:
        return {"anyOf": [{"type": "null"}, plain]}
    return plain
