"""Recognizes secrets by their form, and masks them: in each error, and in the log."""

from __future__ import annotations

import re
from typing import Any

_USER = re.compile(
    r"(://)[^\s/@:]*(?::(?![0-9]{1,5}/)[^\s@\"']{0,200})?(@)"  # a password may have a /
)
_KINDS = (
    (
        "a DSN without https://",
        re.compile(r"(?<![\w/:-])[0-9a-f]{32}(?::[0-9a-f]{32})?(?=@)", re.IGNORECASE),
    ),
    (
        "a PEM",
        re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL),
    ),
    ("a JWT", re.compile(r"(?<![A-Za-z0-9-])eyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?")),
    (
        "a Vault token",
        re.compile(r"(?<![A-Za-z0-9])(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}"),
    ),
    ("a Sentry token", re.compile(r"(?<![A-Za-z0-9])sntry[a-z]_[\w=+/-]{10,}")),
)
_NAMELESS = (
    (
        "a UUID",
        re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
    ),
    ("the key of a DSN", re.compile(r"[0-9a-f]{32}", re.IGNORECASE)),
)
"""Forms that names can have, too. They count as a whole text, or in a foreign one."""
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


def redact(value: Any) -> Any:
    """Return `value` with each secret of a known form masked, at any depth.

    Any other object is returned as its masked `repr`, which is what a log would show.
    """
    if isinstance(value, str):
        for _, form in _KINDS:
            value = form.sub("…", value)
        return _USER.sub(r"\1…\2", value)
    if isinstance(value, dict):
        return {redact(key): redact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(repr(value))


def redact_foreign(text: str) -> str:
    """Return a text that somebody else's code has made without secrets, as a traceback.

    It may quote anything. So the value after a name that means a secret is masked as well,
    and so are UUIDs and what may be the key of a DSN.
    """
    # Such texts are rare, and most agents never meet one.
    from resentry.scrub.text import scrub_text  # noqa: PLC0415
    from resentry.scrub.values import FILTERED  # noqa: PLC0415

    masked: str = redact(text)
    for _, form in _NAMELESS:
        word = rf"(?<![0-9A-Za-z]){form.pattern}(?![0-9A-Za-z])"
        masked = re.sub(word, "…", masked, flags=form.flags)
    return scrub_text(masked).replace(FILTERED, "…")


def kind_of_secret(text: str, *, may_be_a_name: bool = False) -> str:
    """Return what kind of secret the text looks like; empty if it looks like none."""
    for kind, form in _KINDS:
        if form.search(text):
            return kind
    if _USER.search(text):
        return "a DSN, or a URL with a password"
    for kind, form in () if may_be_a_name else _NAMELESS:
        if form.fullmatch(text):
            return kind
    return ""


def is_path(text: str) -> bool:
    """Whether a text is surely the path of a file. Any other text may be a password."""
    return text.startswith(("/", "./", "../"))


def is_plain_name(name: str) -> bool:
    """Whether a name of others can be shown: it is short, and looks like no secret.

    A secret without a form of its own has many digits.
    """
    digits = sum(map(str.isdigit, name))
    return bool(_NAME.match(name)) and digits <= 4 and not kind_of_secret(name)
