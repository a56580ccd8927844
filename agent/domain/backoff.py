"""How long to wait before something that failed is tried again."""

from __future__ import annotations

import random


def backoff_seconds(failures: int, cap: float) -> float:
    """How long to wait after so many failures in a row: 1, 2, 4 ... up to `cap`.

    A quarter is left to chance, so that a fleet does not come back in step.
    """
    chance = random.uniform(0.75, 1)  # noqa: S311 - no secret
    return float(min(cap, 2.0 ** min(failures - 1, 16)) * chance)
