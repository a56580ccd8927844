"""How long to wait before something that failed is tried again.

Part of each wait is random, so that a fleet of agents does not retry in step.
"""

from __future__ import annotations

import random

NEVER = float("inf")
"""A monotonic time that does not come."""
RETRY_AFTER_CAP_SECONDS = 300.0


def backoff_seconds(failures: int, cap: float) -> float:
    """Return the wait after so many failures in a row: 1, 2, 4 ... up to `cap`.

    Up to a quarter of the wait is taken off at random.
    """
    share = random.uniform(0.75, 1)  # noqa: S311 - no secret
    return float(min(cap, 2.0 ** min(failures - 1, 16)) * share)


def retry_seconds(failures: int, cap: float, asked: float | None) -> float:
    """Return the wait after so many failures, if the server may have asked for one.

    The server asks many agents for the same wait, so up to a quarter is added at random.
    """
    wait = (asked or 0) * random.uniform(1, 1.25)  # noqa: S311 - no secret
    return min(max(wait, backoff_seconds(failures, cap)), RETRY_AFTER_CAP_SECONDS)


def retry_after_seconds(header: str) -> float | None:
    """Return the seconds that a Retry-After header asks for; `None` if it has no number.

    The result is between 1 s and `RETRY_AFTER_CAP_SECONDS`: Vault counts down to 0 while
    it still refuses. A date is ignored: Vault sends none, only a proxy might.
    """
    if not header.isascii() or not header.isdigit():
        return None
    return min(max(float(header[:9]), 1.0), RETRY_AFTER_CAP_SECONDS)


class Backoff:
    """Says when something that failed may be tried again.

    Times are seconds of a monotonic clock, which the caller reads.
    """

    def __init__(self, cap: float) -> None:
        self._cap = cap
        self.failures = 0
        self.until = float("-inf")
        """The next try may come at this time."""

    def failed(self, now: float) -> None:
        """Count a failure. Each further failure makes the wait longer."""
        self.failures += 1
        self.until = now + backoff_seconds(self.failures, self._cap)

    def reset(self) -> None:
        """Forget the failures, after a success or a change: try at once."""
        self.failures = 0
        self.until = float("-inf")
