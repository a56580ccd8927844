"""The JSON Schemas of a source and of a tuning file, made from the readers of the keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from agent.domain.tuning_file import RATES
from resentry import formats
from resentry.contract import (
    ROLE,
    ROLES_LIMIT,
    SETTING,
    TUNING,
    Boost,
    Ceiling,
    required,
)
from resentry.tuning import (
    ERRORS_PER_MINUTE_LIMIT,
    KEEP,
    NUMBERS,
    ONE_OF,
    PER_MINUTE_LIMIT,
    Budget,
)
from resentry.values import KEYS, VALUE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER = r"^\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_BOOLEAN = r"^\s*([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee]|[01]|[Yy][Ee][Ss]|[Nn][Oo]|[Oo][Nn]|[Oo][Ff][Ff])\s*$"
_TEXT = {"type": "string", "maxLength": VALUE_LIMIT}
_BOUNDS: dict[str, dict[str, Any]] = {
    "per_minute": {"minimum": 1, "maximum": ERRORS_PER_MINUTE_LIMIT},
    "transactions": {"exclusiveMinimum": 0, "maximum": PER_MINUTE_LIMIT},
}
_RATE = {"minimum": 0, "maximum": 1}
_FIELDS: dict[str, dict[str, Any]] = {
    "id": {"type": "string", "minLength": 1, "maxLength": 64},
    "until": {
        "type": "string",
        "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9]{2}:[0-9]{2})$",
    },
    "match": {"type": "string", "minLength": 1, "maxLength": formats.MATCH_LIMIT},
    "logger": {"type": "string", "minLength": 1, "maxLength": formats.MATCH_LIMIT},
    "role": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,64}$"},
    "parent": {"const": KEEP},
    "exception": {"type": "string", "pattern": r"^[A-Za-z_*][A-Za-z0-9_.*]{0,199}$"},
}


def _number(bounds: dict[str, Any]) -> dict[str, Any]:
    return {
        "anyOf": [
            {"type": "number", **bounds},
            {"type": "string", "pattern": _NUMBER},
        ]
    }


def _field(kind: type[Any], name: str) -> dict[str, Any]:
    if name not in NUMBERS:
        return _FIELDS[name]
    if kind is Budget:
        return _number(_BOUNDS["transactions"])
    return _number(_BOUNDS.get(name, _RATE))


def _item(kind: type[Any]) -> dict[str, Any]:
    needed = required(kind)
    names = [name for name in kind._fields if name != "id" or name in needed]
    described: dict[str, Any] = {
        "type": "object",
        "description": (kind.__doc__ or "").splitlines()[0],
        "properties": {
            name: _field(kind, name)
            if name in needed
            else {"anyOf": [_field(kind, name), {"type": "null"}]}
            for name in names
        },
        "required": sorted(needed),
        "additionalProperties": False,
    }
    if kind in ONE_OF:
        described["anyOf"] = [{"required": [name]} for name in ONE_OF[kind]]
    return described


def _values(keys: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in keys:
        if name.endswith("_RATE"):
            found[name] = _number(_RATE)
        elif KEYS[name].parse is KEYS["SENTRY_SEND_PII"].parse:
            found[name] = {
                "anyOf": [
                    {"type": "boolean"},
                    {"enum": [0, 1]},
                    {"type": "string", "pattern": _BOOLEAN},
                ]
            }
        else:
            found[name] = _TEXT
    return found


def _or_text(schema: dict[str, Any]) -> dict[str, Any]:
    """Allow the same as text, as Vault and dotenv hold it, and nothing at all."""
    return {"anyOf": [schema, {"type": "string"}, {"type": "null"}]}


def schema(keys: Iterable[str] = KEYS, title: str = "A source") -> str:
    """Return the schema. What it refuses, every agent refuses; not the other way round.

    `keys` are those that have one value, for all roles and in a role.
    """
    values = _values(keys)
    lists = {
        SETTING.format(name.upper()): _or_text(
            {
                "type": "array",
                "maxItems": limit // 2 if kind in (Boost, Ceiling) else limit,
                "items": {"$ref": f"#/$defs/{kind.__name__}"},
            }
        )
        for name, (kind, limit) in TUNING.items()
    }
    roles = {
        "type": "object",
        "maxProperties": ROLES_LIMIT,
        "propertyNames": {"pattern": ROLE.pattern.replace("\\Z", "$").join(("^", ""))},
        "additionalProperties": {
            "type": "object",
            "properties": values,
            "additionalProperties": False,
        },
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{title} of resentry-agent",
        "description": "What this schema refuses, the agent refuses. The agent refuses "
        "more: resentry-agent validate FILE tells.",
        "type": "object",
        "properties": {**values, "RESENTRY_ROLES": _or_text(roles), **lists},
        "patternProperties": {"^(?!(SENTRY_|RESENTRY_))": True},
        "additionalProperties": False,
        "$defs": {kind.__name__: _item(kind) for kind, _ in TUNING.values()},
    }
    return json.dumps(document, indent=2) + "\n"


def tuning_schema() -> str:
    """Return the schema of a tuning file."""
    return schema(RATES, "A tuning file")


PAGES = {"source": schema, "tuning": tuning_schema}
"""Each schema that is shipped, by its name."""
