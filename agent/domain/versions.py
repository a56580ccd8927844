"""Which versions of agent and library work together."""

from __future__ import annotations

NEIGHBOURS = 1
"""So many minor versions may lie between them."""


def are_apart(agent: str, library: str) -> bool:
    """Whether agent and library are more than one minor version apart.

    An unknown version is apart from each other one.
    """
    mine, theirs = minor(agent), minor(library)
    if theirs is None or mine is None or theirs[0] != mine[0]:
        return theirs != mine
    return abs(theirs[1] - mine[1]) > NEIGHBOURS


def minor(version: str) -> tuple[int, int] | None:
    """Return the first two numbers of a version; `None` if it has another form."""
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return None
