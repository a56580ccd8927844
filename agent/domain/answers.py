"""What the servers of the DSNs answered to the processes, over all receipts.

Anybody may forge a receipt. So times of the future prove nothing here, and numbers have a
bound.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent.domain.dsn_check import dsns_of, names_of
from agent.domain.value import Value
from resentry import formats
from resentry.answers import KINDS
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.rollout import Rollout
    from resentry.answers import Answer
    from resentry.contract import Snapshot

CLOCK_SECONDS = 60.0
"""A time may be this far in the future: the clocks of two containers are one, or nearly."""
STATUSES = range(100, 600)
OTHER = "other"
"""The name of every DSN that is not published, and of every kind of a newer library."""


class DsnUse(Value, frozen=True):
    """How the server of one published DSN answers. Times are seconds since the epoch."""

    dsn: str
    """The DSN as it may be shown."""
    fingerprint: str
    processes: Mapping[str, int]
    """How many processes were answered so last, by kind."""
    statuses: tuple[int, ...] = ()
    """The HTTP statuses of the answers that are not "accepted"."""
    since: float | None = None
    """Since when a process has been answered something else than "accepted"."""
    accepted_at: float | None = None
    """When an envelope of any process was last accepted."""

    @property
    def bad(self) -> tuple[str, ...]:
        """The kinds of answers that are not "accepted"."""
        return tuple(kind for kind in self.processes if kind != "accepted")

    @property
    def sentence(self) -> str:
        """One line for people."""
        return f"DSN {self.dsn}: {self.meaning}"

    @property
    def meaning(self) -> str:
        """What the answers say about the DSN."""
        last = self.accepted_at
        accepted = (
            f"an envelope was accepted last at {time_text(last, 'seconds')}"
            if last is not None
            else "no envelope was accepted yet"
        )
        if not self.bad:
            return accepted
        total = sum(self.processes.values())
        statuses = f" (status {', '.join(map(str, self.statuses))})"
        since = f" since {time_text(self.since, 'seconds')}" if self.since else ""
        counted = ", ".join(f"{self.processes[kind]} {kind}" for kind in self.bad)
        return (
            f"of {total} process{'es' * (total != 1)}, {counted}"
            f"{statuses * bool(self.statuses)}{since}; {accepted}"
        )

    @property
    def hint(self) -> str:
        """What an operator can do; empty if everything is accepted."""
        return next((HINTS[kind] for kind in HINTS if kind in self.bad), "")


HINTS = {
    "refused": "enable the key in Sentry, or write another DSN to the source",
    "unreached": "check DNS, TLS, proxy and network from the application's container",
    "failed": "look at the state of the Sentry server",
    "limited": "raise the key's rate limit or the quota in Sentry, or lower the rates",
}


def uses(
    current: Snapshot | None,
    rollout: Rollout,
    now: float,
    earlier: Mapping[str, float] | None = None,
) -> tuple[DsnUse, ...]:
    """Return how the server of each published DSN answers.

    `earlier` says when it last accepted something, also from processes that have ended.
    """
    published = published_dsns(current)
    answers: dict[str, list[Answer]] = {mark: [] for mark in published}
    for target, _ in rollout.targets:
        for answer in target.receipt.answers:
            if answer.dsn in answers:
                answers[answer.dsn].append(answer)
    accepted = accepted_at(rollout, now)
    for mark, moment in (earlier or {}).items():
        accepted[mark] = max(moment, accepted.get(mark, 0.0))
    return tuple(
        _use(dsn, mark, answers[mark], accepted.get(mark))
        for mark, dsn in published.items()
    )


def published_dsns(current: Snapshot | None) -> dict[str, str]:
    """Return the published DSNs by their fingerprints."""
    return {names_of(dsn)[1]: dsn for dsn in sorted(dsns_of(current))}


def accepted_at(rollout: Rollout, now: float) -> dict[str, float]:
    """Return when a server last accepted an envelope, by fingerprint of the DSN.

    Times are seconds since the epoch. A DSN by which nothing was accepted is missing.
    """
    newest: dict[str, float] = {}
    for target, _ in rollout.targets:
        for answer in target.receipt.answers:
            moment = _moment(answer.accepted_at)
            if moment is not None and moment <= now + CLOCK_SECONDS:
                newest[answer.dsn] = max(moment, newest.get(answer.dsn, 0.0))
    return newest


def kind_of(answer: Answer) -> str:
    """Return the kind of an answer; `other` for one that only a newer library knows."""
    return answer.kind if answer.kind in KINDS else OTHER


def _use(dsn: str, mark: str, answers: list[Answer], accepted: float | None) -> DsnUse:
    kinds = Counter(map(kind_of, answers))
    bad = [answer for answer in answers if answer.kind != "accepted"]
    statuses = {each.status for each in bad}
    since = [moment for each in bad if (moment := _moment(each.since)) is not None]
    return DsnUse(
        names_of(dsn)[0],
        mark,
        {kind: kinds[kind] for kind in (*KINDS, OTHER) if kinds[kind]},
        tuple(status for status in STATUSES if status in statuses),
        min(since, default=None),
        accepted,
    )


def _moment(text: str) -> float | None:
    try:
        return formats.moment(text)
    except ValueError:
        return None
