"""What the servers of the DSNs answered to the processes, over all receipts.

Anybody may forge a receipt. So times of the future prove nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resentry import formats

if TYPE_CHECKING:
    from agent.domain.rollout import Rollout

CLOCK_SECONDS = 60.0
"""A time may be this far in the future: the clocks of two containers are one, or nearly."""


def accepted_at(rollout: Rollout, now: float) -> dict[str, float]:
    """Return when a server last accepted an envelope, by fingerprint of the DSN.

    Times are seconds since the epoch. A DSN by which nothing was accepted is missing.
    """
    newest: dict[str, float] = {}
    for target, _ in rollout.targets:
        for answer in target.receipt.answers:
            try:
                moment = formats.moment(answer.accepted_at)
            except ValueError:
                continue
            if moment <= now + CLOCK_SECONDS:
                newest[answer.dsn] = max(moment, newest.get(answer.dsn, 0.0))
    return newest
