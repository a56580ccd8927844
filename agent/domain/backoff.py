"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random

RETRY_AFTER_CAP_SECONDS = 300.0


def backoff_seconds(failures: int, cap: float) -> float:
    """How long to wait after so many failures in a row: 1, 2, 4 ... up to `cap`.

    A quarter is left to chance, so that a fleet does not come back in step.
    """
    chance = random.uniform(0.75, 1)  # noqa: S311 - no secret
    return float(min(cap, 2.0 ** min(failures - 1, 16)) * chance)


def retry_seconds(failures: int, cap: float, asked: float | None) -> float:
    """How long to wait if the server may have asked for so many seconds.

    It asks many for the same, so up to a quarter more is left to chance.
    """
    wait = (asked or 0) * random.uniform(1, 1.25)  # noqa: S311 - no secret
    return min(max(wait, backoff_seconds(failures, cap)), RETRY_AFTER_CAP_SECONDS)


def retry_after_seconds(header: str) -> float | None:
    """What a Retry-After header asks for, within reason; `None` if it asks nothing.

    Vault counts down to 0 while it still refuses, so the least is a second. A date,
    which only something in between would send, is left to our own back-off.
    """
    if not header.isascii() or not header.isdigit():
        return None
    return min(max(float(header[:9]), 1.0), RETRY_AFTER_CAP_SECONDS)


class Backoff:
    """Keeps something that fails from being tried again at once.

    Times are seconds of a monotonic clock, which the caller reads.
    """

    def __init__(self, cap: float) -> None:
        self._cap = cap
        self.failures = 0
        self.until = float("-inf")
        """When it may be tried again."""

    def failed(self, now: float) -> None:
        """Count a failure: the next try has to wait, longer each time."""
        self.failures += 1
        self.until = now + backoff_seconds(self.failures, self._cap)

    def reset(self) -> None:
        """It succeeded, or something has changed: try at once."""
        self.failures = 0
        self.until = float("-inf")
