"""Says when a published DSN is checked again: when nobody has used it for long.

While an application sends, the answers to its envelopes tell whether the DSN works. An
application that sends nothing would not learn that its key was disabled.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from agent.backoff import NEVER
from agent.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Wait(Value, frozen=True):
    """The last sign that a DSN works, or the last check; and how long it counts."""

    since: float
    seconds: float


class Idle:
    """The published DSNs, and until when each needs no check. Times are monotonic."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waits: dict[str, _Wait] = {}
        self.next_at = NEVER
        """When the next check is due if no sign comes before; infinite without a DSN."""

    def due(self, signs: Mapping[str, float | None], now: float) -> list[str]:
        """Return the DSNs to check now. Each then waits anew.

        `signs` has the published DSNs, each with the time of its last sign: an envelope
        that was accepted, or an answer to a check. `None` means that there was none.
        """
        waits = {}
        for dsn, sign in signs.items():
            wait = self._waits.get(dsn) or self._wait(now)
            if sign is not None and sign > wait.since:
                wait = self._wait(sign)
            waits[dsn] = wait
        due = [dsn for dsn, wait in waits.items() if now >= wait.since + wait.seconds]
        self._waits = waits | {dsn: self._wait(now) for dsn in due}
        ends = [wait.since + wait.seconds for wait in self._waits.values()]
        self.next_at = min(ends, default=NEVER)
        return due

    def _wait(self, since: float) -> _Wait:
        # A fleet must not ask in step.
        return _Wait(since, self._seconds * random.uniform(1, 1.25))  # noqa: S311
