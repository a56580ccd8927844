"""The suggestion that an error message makes for a mistyped name."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


LONGEST = 64
"""Comparing takes time quadratic in the length, so no more of a name is compared."""


def did_you_mean(name: str, known: Iterable[str], prefix: str = "") -> str:
    """Return ` (did you mean ...?)` with the nearest known name; empty if none is near.

    `prefix` is put before the suggestion. It does not count when names are compared.
    """
    import difflib  # noqa: PLC0415 - only a mistake needs it

    nearest = difflib.get_close_matches(name[:LONGEST], list(known), n=1)
    return f" (did you mean {prefix}{nearest[0]}?)" if nearest else ""
