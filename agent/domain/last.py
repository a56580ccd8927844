"""What was seen last: a process of each role, and what was accepted by each DSN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, structs

from agent.domain.answers import accepted_at, published_dsns
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.rollout import Rollout
    from resentry.contract import Snapshot

ROLES_LIMIT = 20
"""So many roles are kept, those of live processes first."""


class LastProcess(Struct, frozen=True, kw_only=True):
    """A process of a role: a live one, or the one that was seen last."""

    role: Annotated[str, Meta(description="The role.")]
    name: Annotated[str, Meta(description="The process for people, as `api pid 7`.")]
    ended_at: Annotated[
        str | None,
        Meta(description="When the agent noticed its end; null if it did not yet."),
    ] = None

    @property
    def sentence(self) -> str:
        """One line for people."""
        if self.ended_at is None:
            return f"{self.name} has ended"
        return f"{self.name} ended at {self.ended_at}"


LastProcesses = tuple[LastProcess, ...]


def last_processes(
    before: LastProcesses, rollout: Rollout, now: float
) -> LastProcesses:
    """Return a process of each role, after the receipts were read at the time `now`."""
    names: dict[str, list[str]] = {}
    for target, _ in rollout.targets:
        if target.readable:
            names.setdefault(target.receipt.role, []).append(target.name)
    moment = time_text(now, "seconds")
    gone = [
        structs.replace(each, ended_at=each.ended_at or moment)
        for each in ended(before, rollout)
    ]
    known = {each.role: each.name for each in before}
    live = [
        LastProcess(role=role, name=min(own, key=lambda name: name != known.get(role)))
        for role, own in names.items()
    ]
    listed = {each.role for each in (*gone, *live)}
    unsure = [each for each in before if each.role not in listed]
    return tuple([*gone, *unsure, *live][-ROLES_LIMIT:])


def ended(before: Sequence[LastProcess], rollout: Rollout) -> LastProcesses:
    """Return the last process of each role that has none left.

    While a receipt cannot be read, nobody knows whether more roles have none left.
    """
    live = {t.receipt.role for t, _ in rollout.targets if t.readable}
    is_sure = not rollout.unknown and all(t.readable for t, _ in rollout.targets)
    return tuple(
        each for each in before if each.role not in live and (is_sure or each.ended_at)
    )


def last_accepted(
    before: Mapping[str, float], current: Snapshot | None, rollout: Rollout, now: float
) -> dict[str, float]:
    """Return when each published DSN was last accepted, also by a process that has ended."""
    seen = accepted_at(rollout, now)
    return {
        mark: max(before.get(mark, 0.0), seen.get(mark, 0.0))
        for mark in published_dsns(current)
        if mark in before or mark in seen
    }
