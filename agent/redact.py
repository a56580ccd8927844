"""Recognizes secrets by their form, and masks them: in each error, and in the log."""

from __future__ import annotations

import re
from typing import Any

_DSN = re.compile(r"(https?://)[^\s/@:]+(?::[^\s/@]*)?(@)", re.IGNORECASE)
_KINDS = (
    (
        "a PEM",
        re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL),
    ),
    ("a JWT", re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?")),
    ("a Vault token", re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}")),
    ("a Sentry token", re.compile(r"\bsntry[a-z]_[\w=+/-]{10,}")),
)
_NAMELESS = (
    (
        "a UUID",
        re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    ),
    ("the key of a DSN", re.compile(r"[0-9a-f]{32}", re.IGNORECASE)),
)
"""Forms that names can have, too. They count only as a whole text."""


def redact(value: Any) -> Any:
    """Return `value` with each secret of a known form masked, at any depth.

    Any other object is returned as its masked `repr`, which is what a log would show.
    """
    if isinstance(value, str):
        for _, form in _KINDS:
            value = form.sub("…", value)
        return _DSN.sub(r"\1…\2", value)
    if isinstance(value, dict):
        return {redact(key): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(repr(value))


def kind_of_secret(text: str, *, may_be_a_name: bool = False) -> str:
    """Return what kind of secret the text looks like; empty if it looks like none."""
    for kind, form in _KINDS:
        if form.search(text):
            return kind
    if _DSN.search(text):
        return "a DSN, or a URL with a password"
    for kind, form in () if may_be_a_name else _NAMELESS:
        if form.fullmatch(text):
            return kind
    return ""


def file_of(path: str, variable: str) -> str:
    """Return the path for an error, if it looks like a path. Else it may be a secret."""
    is_path = path.startswith(("/", "./", "../"))
    return redact(path) if is_path else f"the file that {variable} names"
