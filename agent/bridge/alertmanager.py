"""What is known of an Alertmanager beside its API: what its clock says."""

from __future__ import annotations

import email.utils
import time

NOISE_SECONDS = 2.0
"""A header tells whole seconds, and an answer takes its time."""


def seconds_ahead(date: str) -> float:
    """Return how far the other clock is ahead of ours; 0 if it is about the same.

    `date` is the header of an answer that came just now. An alert ends by the clock of the
    Alertmanager that has it, so each time that is sent there is a time of that clock.
    """
    try:
        ahead = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return 0.0
    return ahead if abs(ahead) > NOISE_SECONDS else 0.0
