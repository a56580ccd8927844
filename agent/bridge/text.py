"""What may leave the bridge: short texts, without personal data as far as a form shows it.

A title is the text of an exception: it may hold anything, so it never leaves.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from agent.redact import redact
from resentry.scrub.text import scrub_text

LIMIT = 200
_NOT_SHOWN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_PLACE = re.compile(r"[\w.$<>(){}\[\]:/?*, -]+")
_NAME = re.compile(r"[\w.:/+-]{1,200}")
_URL = re.compile(r"https?://[\x21-\x7e]{1,500}")


def shown(value: object, limit: int = LIMIT) -> str:
    """Return one line without secrets; empty for what is no text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = _NOT_SHOWN.sub(" ", str(value)[: 4 * limit]).strip()
    return str(scrub_text(str(redact(text))))[:limit]


def name(value: object) -> str:
    """Return a name or an id that a label may hold; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value)
    return text if _NAME.fullmatch(text) else ""


def place(value: object) -> str:
    """Return a place in code, or the name of a transaction; empty for anything else."""
    text = shown(value)
    return text if _PLACE.fullmatch(text) else ""


def url(value: object) -> str:
    """Return an address without user, query and fragment; empty for anything else."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return ""
    try:
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{parts.path}" if host else ""
