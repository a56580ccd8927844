"""How the files of the contract are read: JSON of one schema, and texts cut to size."""

from __future__ import annotations

import json
from typing import Any

SCHEMA = 1


class ContractError(ValueError):
    """A file of the other side does not have the agreed shape."""


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object of this schema; else raise, naming `what` and no value."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise ContractError(f"{what} is not JSON") from None
    if not isinstance(document, dict):
        raise ContractError(f"{what} is not a JSON object")
    schema = document.get("schema")
    if type(schema) is not int or not 0 <= schema <= 10**6:
        raise ContractError(f"{what} names no schema")
    if schema != SCHEMA:
        raise ContractError(
            f"{what} has schema {schema}, "
            f"this version of resentry reads schema {SCHEMA}"
        )
    return document


def plain(text: str, limit: int) -> str:
    """Cut a text that is shown to people: no escape sequences, no novels."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])
