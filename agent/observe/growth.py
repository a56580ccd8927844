"""Adds up what processes count themselves. Their counts begin anew with each process."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LARGEST = 2**53
"""A larger count is a forged one. Up to here a float is exact."""
Key = TypeVar("Key")


class Growth(Generic[Key]):
    """By how much counts have grown from one look to the next, over all processes.

    What stands there at the first look was counted before, maybe by an earlier agent.
    """

    def __init__(self) -> None:
        self._before: dict[str, dict[Key, int]] | None = None

    def since(
        self, counts: Mapping[str, Mapping[Key, int]], present: Collection[str]
    ) -> Counter[Key]:
        """Return what was added.

        `counts` has each process's counts, by its id. `present` names all processes that
        live, also those whose counts could not be read now.
        """
        added: Counter[Key] = Counter()
        before = self._before
        after = {
            process: {key: min(max(n, 0), LARGEST) for key, n in each.items()}
            for process, each in counts.items()
        }
        for process, each in after.items() if before is not None else ():
            known = before.get(process, {}) if before else {}
            for key, count in each.items():
                added[key] += max(count - known.get(key, 0), 0)
        kept = {name: each for name, each in (before or {}).items() if name in present}
        self._before = kept | after
        return added
