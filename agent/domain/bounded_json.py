"""Reads JSON that others wrote: strictly, and only if it needs little memory.

2 MiB of `[],[],…` would need 60 MiB in memory. So the tokens are counted first.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

TOKENS_LIMIT = 100_000
"""Strings, commas and opening brackets. So many need 6 MiB in memory at most."""
_PART = r'"(?:[^"\\]++|\\.)*+"|[\[{,]'
_IN_TEXT = re.compile(_PART, re.DOTALL)
_IN_BYTES = re.compile(_PART.encode(), re.DOTALL)


class TooManyError(ValueError):
    """The text holds more than `TOKENS_LIMIT` tokens."""


def check(text: str | bytes) -> None:
    """Raise `TooManyError` for JSON that would need much memory."""
    found = (
        _IN_TEXT.finditer(text) if isinstance(text, str) else _IN_BYTES.finditer(text)
    )
    if sum(1 for _ in islice(found, TOKENS_LIMIT + 1)) > TOKENS_LIMIT:
        raise TooManyError("holds too many values")


def loads(text: str | bytes) -> Any:
    """Return what the JSON holds, or raise `ValueError`.

    NaN, infinity, deep nesting, and a name that stands twice in an object are errors.
    Bytes are UTF-8.
    """
    check(text)
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        return json.loads(
            text,
            parse_constant=_refuse,
            parse_float=_finite,
            object_pairs_hook=_once,
        )
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too large")
    return number


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Of two values with one name, nobody can tell which is meant."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ValueError("a name stands twice")
    return fields
