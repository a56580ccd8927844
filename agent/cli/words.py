"""Times as people say them: the age of each beside it."""

from __future__ import annotations

import re

from resentry import formats

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)")
_UNITS = ((86400 * 2, 86400, "day"), (3600 * 2, 3600, "hour"), (60 * 2, 60, "minute"))


def span(seconds: float) -> str:
    """Return a length of time in words, in the largest unit that holds it twice."""
    for least, unit, name in _UNITS:
        if seconds >= least:
            return f"{seconds // unit:.0f} {name}s"
    return f"{seconds:.0f} s"


def age(seconds: float) -> str:
    """Return how long ago a moment was, or in how long it comes."""
    if abs(seconds) < 1:
        return "just now"
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(-seconds)}"


def with_ages(line: str, now: float) -> str:
    """Return the line with the age of each time behind the time."""

    def aged(match: re.Match[str]) -> str:
        try:
            moment = formats.moment(match[0])
        except ValueError:
            return match[0]
        return f"{match[0]} ({age(now - moment)})"

    return _MOMENT.sub(aged, line)
