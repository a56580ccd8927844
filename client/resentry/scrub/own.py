"""Recognizes values that the SDK or a framework makes, by their place and exact form.

An application can put its own values into most of these places, too. So the place alone is
not enough: a value without the exact form is scrubbed like any other text. Pure functions.
Standard library only.
"""

from __future__ import annotations

import re

from resentry.scrub.sql import is_sql, scrub_sql
from resentry.scrub.text import scrub_text
from resentry.scrub.values import scrub_values

# A span's id. The ids of traces, events and tasks never look like a secret.
_SPAN_ID = re.compile("[0-9a-f]{16}")
# No platform has longer numbers, and card numbers this short are rare.
_THREAD_ID = re.compile("[0-9]{1,15}")
_RELEASE = re.compile(r"[\w./-]+@[\w.+-]*[0-9][\w.+-]*", re.ASCII)
_SLUG = re.compile(r"[\w./-]+(?::[A-Za-z_.-]+)*", re.ASCII)

# `GET /reset/{token:str}`, without a query. A parameter has a converter or a pattern.
_PATH = re.compile(r"(?:[A-Z]+ )?\^?/[^\s?=&]*")
_CONVERTER = r":(?:(?:re:)?[\[(\\.][^\s{}<>\"'=]*(?:\{[\d,]+\}[^\s{}<>\"'=]*)*|%s)"
_PARAMETER = re.compile(
    r"\{[A-Za-z_]\w*" + _CONVERTER % r"[A-Za-z_]\w*(?:\([\w, -]*\))?" + r"\}"
    r"|<[A-Za-z_]\w*(?:\([\w=,. -]*\))?" + _CONVERTER % r"[A-Za-z_]\w*" + ">",
    re.ASCII,
)


def is_span_id(value: object) -> bool:
    """Whether a value is a span's id: 16 hexadecimal digits."""
    return type(value) is str and _SPAN_ID.fullmatch(value) is not None


def is_thread_id(value: object) -> bool:
    """Whether a value can be a thread's number, as a number or as text."""
    return type(value) in (int, str) and bool(_THREAD_ID.fullmatch(f"{value}"))


def is_number(value: object) -> bool:
    """Whether a value is a whole number, as a number or as text."""
    if type(value) is str:
        return value.isascii() and value.isdigit()
    return type(value) is int


def is_release(text: str) -> bool:
    """Whether a text names a package and its version (`lms@3fa9b2.main`)."""
    return _RELEASE.fullmatch(text) is not None


def scrub_code(text: str) -> str:
    """Return a name or a statement without secrets. A route's parameter is not a secret."""
    if is_sql(text):
        return scrub_sql(text)
    path = _PATH.match(text)
    if path is None or ":" not in path[0]:
        return scrub_text(text)
    parts: list[str] = []
    done = 0
    for parameter in _PARAMETER.finditer(text, 0, path.end()):
        parts += scrub_text(text[done : parameter.start()]), parameter[0]
        done = parameter.end()
    return "".join((*parts, scrub_text(text[done:])))


def scrub_slug(text: str) -> str:
    """Return a monitor's name without secrets. `session:cleanup` is a name, not a pair."""
    return scrub_values(text) if _SLUG.fullmatch(text) else scrub_text(text)
