"""What error rules have let pass. It goes on from one snapshot to the next."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from resentry import clock
from resentry.process import here

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resentry.contract import ErrorRule
    from resentry.error_sampling import Kind

KINDS_LIMIT = 1000
"""So many kinds of errors are remembered. A kind beyond that is never the first."""
WINDOW_SECONDS = 60.0


class Limit:
    """So many in any minute: the times of the last ones that passed."""

    def __init__(self, per_minute: float) -> None:
        self._passed: deque[float] = deque(maxlen=max(1, int(per_minute)))

    def is_reached(self) -> bool:
        """Whether the next one has to wait."""
        passed = self._passed
        is_full = len(passed) == passed.maxlen
        return is_full and clock.monotonic() - passed[0] < WINDOW_SECONDS

    def spend(self) -> None:
        """Count one that passes."""
        self._passed.append(clock.monotonic())


class Memory:
    """What goes on from one snapshot to the next, for each rule that stays the same.

    It belongs to the process that made it: see `is_ours`.
    """

    limits: list[Limit | None]

    def __init__(
        self, rules: Sequence[ErrorRule], earlier: Memory | None = None
    ) -> None:
        self._home = here().id
        self.rules = rules
        same = set(rules)
        limits = (
            dict(zip(earlier.rules, earlier.limits, strict=True)) if earlier else {}
        )
        self.limits = [
            limits.get(each) or Limit(each.per_minute) if each.per_minute else None
            for each in rules
        ]
        firsts = earlier.firsts if earlier else ()
        self.firsts: set[tuple[str, ErrorRule]] = {
            first for first in firsts if first[1] in same
        }
        self.rule_of: dict[Kind, int | None] = {}

    @property
    def is_ours(self) -> bool:
        """Whether this process made it. What a parent let pass says nothing of a child."""
        return self._home == here().id
