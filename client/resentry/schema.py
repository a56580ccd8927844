"""Reads the JSON files of the contract, and cuts texts to their limits."""

from __future__ import annotations

import json
import math
from typing import Any

SCHEMA = 1
DIGITS_LIMIT = 18
"""A whole number has at most so many digits: not every program can hold a longer one."""


class ContractError(ValueError):
    """A file of the agent or of a target does not have the agreed form."""


def read_object(body: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object; raise if it is not of this schema. No error quotes a value.

    The JSON must be strict: Python's own reader also takes NaN, numbers that become
    infinite, and halves of surrogate pairs, which nothing can write again.
    """
    try:
        document = json.loads(body, parse_int=_whole)
    except (ValueError, RecursionError):
        raise ContractError(f"{what} is not JSON") from None
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        raise ContractError(f"{what} has an invalid text or number") from None
    if not isinstance(document, dict):
        raise ContractError(f"{what} is not a JSON object")
    schema = document.get("schema")
    if type(schema) is not int or not 0 <= schema <= 10**6:
        raise ContractError(f"{what} has no valid schema number")
    if schema != SCHEMA:
        raise ContractError(
            f"{what} has schema {schema}, "
            f"this version of resentry reads schema {SCHEMA}"
        )
    return document


def _whole(text: str) -> float:
    """Return a whole number. A longer one is infinite, so it is refused as no number."""
    return int(text) if len(text.lstrip("-")) <= DIGITS_LIMIT else math.inf


def plain(text: str, limit: int) -> str:
    """Cut a text for people to the limit, and replace what is not printable by `?`."""
    return "".join(c if c.isprintable() else "?" for c in text[:limit])
