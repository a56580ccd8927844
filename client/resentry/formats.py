"""Reads single values: one form for each kind, the same in agent and library.

Standard library only. A bad value raises a `ValueError` that does not quote it. Python
itself accepts more than anybody means (`0_1`, full-width digits, a time without a zone),
and its versions differ. So a text is matched first and converted afterwards.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

ROLE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
MATCH_LIMIT = 200
"""Characters of a rule's or boost's `match`."""

_WHOLE = re.compile(r"[0-9]{1,18}\Z")
_DECIMAL = re.compile(
    r"(?:[0-9]{1,32}(?:\.[0-9]{0,32})?|\.[0-9]{1,32})(?:e[+-]?[0-9]{1,3})?\Z"
)
_MOMENT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))\Z"
)
_ROUTE = re.compile(r"(?:\S+ )?/.*[{<]", re.DOTALL)


def number(value: object) -> float:
    """Read a number of 0 or more: a JSON number, or a text of ASCII digits."""
    if isinstance(value, str):
        value = value.strip(" \t\r\n").lower()
        is_number = bool(_DECIMAL.match(value))
    else:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        result = float(value) if is_number else -1.0  # type: ignore[arg-type]
    except OverflowError:  # a JSON integer can be any size
        result = -1.0
    if not 0.0 <= result < float("inf"):  # NaN fails, too
        raise ValueError("must be a number")
    return abs(result)  # -0.0 is 0.0, so that equal content has an equal revision


def whole(text: str) -> int:
    """Read a whole number of 0 or more, of at most 18 ASCII digits."""
    if not _WHOLE.match(text):
        raise ValueError("must be a whole number")
    return int(text)


def rate(value: object) -> float:
    """Read a rate: a number from 0 to 1, or such a text."""
    try:
        result = number(value)
    except ValueError:
        result = -1.0
    if not 0.0 <= result <= 1.0:
        raise ValueError("must be a number from 0 to 1")
    return result


def moment(text: object) -> float:
    """Read an RFC 3339 time with its zone; return seconds since the epoch."""
    match = _MOMENT.match(text) if isinstance(text, str) else None
    try:
        if match is None:
            raise ValueError
        *clock, fraction, sign, hours, minutes = match.groups()
        offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
        zone = timezone(-offset if sign == "-" else offset)
        year, month, day, hour, minute, second = map(int, clock)
        micro = int((fraction or "")[:6].ljust(6, "0"))
        parsed = datetime(year, month, day, hour, minute, second, micro, zone)
        seconds = parsed.timestamp()
        datetime.fromtimestamp(seconds, timezone.utc)  # not beyond the calendar in UTC
    except (ValueError, OverflowError):
        raise ValueError(
            "must be a time with its zone, as 2026-11-24T06:15:00Z"
        ) from None
    return seconds


def role(value: object) -> str:
    """Read a role's name."""
    if not isinstance(value, str) or not ROLE.match(value):
        raise ValueError("must be 1 to 64 letters, digits or any of _.-")
    return value


def words(value: object, limit: int) -> str:
    """Read a printable text that is not empty and not longer than the limit."""
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise ValueError(f"must be text of 1 to {limit} characters")
    if not value.isprintable():  # half a surrogate pair is not printable, either
        raise ValueError("has a character that cannot be printed")
    return value


def names_route(match: str) -> bool:
    """Whether a pattern is a route, such as `GET /users/{id}`.

    Such a pattern matches no request: the rate is decided before the framework knows the
    route.
    """
    return bool(_ROUTE.match(match))


def time_text(moment: float, timespec: str = "milliseconds") -> str:
    """Return seconds since the epoch as ISO text in UTC, as every document shows it."""
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec=timespec)
    return text.replace("+00:00", "Z")
