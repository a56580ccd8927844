"""What may leave the bridge: short texts, without personal data as far as a form shows it.

A title is the text of an exception: it may hold anything, so it never leaves.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote, urlsplit

from agent.redact import redact
from resentry.scrub.text import scrub_text

LIMIT = 200
_NOT_SHOWN = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_FUNCTION = r"(?:[\w.$-]|<[a-z]+>)+"
_PLACE = re.compile(rf"(?:[\w.$@/-]+|\?) in (?:{_FUNCTION}|\?)|[A-Za-z_]\w*(?:\.\w+)+")
"""`module in function`, or the dotted name of a view."""
_FIXED, _GIVEN = r"[a-z][a-z0-9_.-]{0,40}", r"(?:\{\w+\}|<(?:\w+:)?\w+>|:\w+)"
_ROUTE = re.compile(
    rf"(?:[A-Z]{{3,7}} )?(?:/{_FIXED})*(?:/{_GIVEN}(?:/{_FIXED})*)+/?", re.ASCII
)
"""A route with a placeholder. A path without one may hold the names of persons."""
_PATH = re.compile(r"(?:/[A-Za-z0-9_-]{1,64})*/?")
"""A path of Sentry itself: no part is a mail or an IP address."""
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


def label(value: object) -> str:
    """Return a name for a label. Each text has one of its own: labels are the identity.

    Odd characters are percent-encoded. A text that would not leave as it is has a hash.
    """
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return ""
    text = str(value)
    if _NAME.fullmatch(text):
        return text
    if len(text) <= LIMIT and shown(text) == text:
        return quote(text, safe="/:+")
    return f"hash-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:12]}"


def place(value: object) -> str:
    """Return a place in code, or a route; empty for anything else."""
    text = shown(value)
    return text if _PLACE.fullmatch(text) or _ROUTE.fullmatch(text) else ""


def url(value: object) -> str:
    """Return an address without user, query and fragment.

    Empty for anything else, and for a path that may hold more than names and numbers.
    """
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return ""
    try:
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    is_good = host and _PATH.fullmatch(parts.path)
    return f"{parts.scheme}://{host}{parts.path}" if is_good else ""
