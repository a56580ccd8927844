"""What rules, ceilings and budgets do in a process, as its receipt shows it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from resentry import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

REFRESH_SECONDS = 30.0
"""The numbers in a receipt are at most this old. What is new is shown at once."""
CAUSES = ("rate", "ceiling", "budget")
"""What drops an error beside a rule, which is named `rule 0` by its place."""
BUDGETS = ("transactions", "errors")
"""The kinds of budgets."""


class Counts(NamedTuple):
    """The errors that were dropped, by cause, and the share that each budget lets pass.

    It is the share of what no rule and no boost names: what one names goes first.
    """

    dropped: Mapping[str, int]
    budgets: Mapping[str, float]


class Sampled:
    """What a process shows of its sampling. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown = Counts({}, {})
        self._shown_at = 0.0
        self.dropped: dict[str, int] = {}
        """Counts of errors by what dropped them: `rule 0`, `rate`, `ceiling`, `budget`.

        They outlive the rules, ceilings and budgets. So no edit hides what was dropped.
        """

    def drop(self, cause: str) -> None:
        """Count an error that is not sent. Threads may lose one: there is no lock to inherit."""
        self.dropped[cause] = self.dropped.get(cause, 0) + 1

    def shown(self, counts: Counts) -> Counts:
        """Return the counts for the receipt, which need not be written for each event."""
        now = clock.monotonic()
        with self._lock:
            if _is_news(self._shown, counts) or now >= self._shown_at + REFRESH_SECONDS:
                self._shown, self._shown_at = counts, now
            return self._shown


def _is_news(before: Counts, now: Counts) -> bool:
    """Whether there is another cause or budget, or a budget begins to drop something."""
    return (
        now.dropped.keys() != before.dropped.keys()
        or now.budgets.keys() != before.budgets.keys()
        or any(before.budgets[kind] == 1 > now.budgets[kind] for kind in now.budgets)
    )


def is_share(value: Any) -> bool:
    """Whether a receipt's value can be read as a share."""
    return type(value) in (int, float) and 0 <= value <= 1
