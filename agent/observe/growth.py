"""Adds up what processes count themselves. Their counts begin anew with each process."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GROWTH_LIMIT = 10**6
"""No process counts more than this from one look to the next. A larger step is forged."""
SUM_LIMIT = 2**50
"""A sum ends here. A metric is a float, which is exact to one up to 2**53."""
Key = TypeVar("Key")


class Growth(Generic[Key]):
    """By how much counts have grown from one look to the next, over all processes.

    What stands there at the first look was counted before, maybe by an earlier agent.
    """

    def __init__(self) -> None:
        self._before: Mapping[str, Mapping[Key, int]] | None = None
        self._sum: Counter[Key] = Counter()

    def restart(self) -> None:
        """Take the next look as the first one."""
        self._before = None

    def since(
        self, counts: Mapping[str, Mapping[Key, int]], present: Collection[str]
    ) -> Counter[Key]:
        """Return what was added.

        `counts` has each process's counts, by its id. `present` names all processes that
        live, also those whose counts could not be read now.
        """
        added: Counter[Key] = Counter()
        before = self._before or {}
        for process, each in counts.items() if self._before is not None else ():
            known = before.get(process, {})
            for key, count in each.items():
                step = max(count - known.get(key, 0), 0)
                added[key] += min(step, GROWTH_LIMIT)
        for key, number in added.items():
            added[key] = min(number, SUM_LIMIT - self._sum[key])
            self._sum[key] += added[key]
        kept = {name: each for name, each in before.items() if name in present}
        self._before = {**kept, **counts}
        return added
