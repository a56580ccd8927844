"""The live processes as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict

from agent._version import __version__
from agent.domain.roles import rates_by_role
from agent.domain.rollout import OVERDUE_HINT
from agent.domain.tuned import unhonoured
from agent.domain.versions import are_apart
from agent.observe.target_results import (
    BudgetReport,
    HolderReport,
    RateReport,
    RoleReport,
    RolloutReport,
    Target,
)
from resentry.answers import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.domain.rollout import LiveTarget, Rollout, State
    from resentry.contract import Receipt, Snapshot


def rollout_report(
    current: Snapshot | None, rollout: Rollout, version: str | None
) -> RolloutReport:
    """Return how far the snapshot has got. `version` is the running agent's."""
    return RolloutReport(
        state=rollout.state,
        sentence=rollout.sentence,
        idle_roles=list(rollout.idle_roles),
        unknown=rollout.unknown,
        obstacle=rollout.obstacle,
        hint=rollout.hint,
        targets=[
            _target(target, state, version, current)
            for target, state in rollout.targets
        ],
    )


def role_reports(
    current: Snapshot | None, rollout: Rollout, boosts: Sequence[str]
) -> list[RoleReport]:
    """Return what the processes of each role send. `boosts` are the ids in force."""
    return [
        RoleReport(
            role=each.role,
            processes=list(each.processes),
            off=each.off,
            rates=[
                RateReport(setting=rate.setting, value=rate.value, origin=rate.origin)
                for rate in each.rates
            ],
            rules=each.rules,
            boosts=list(each.boosts),
            budgets=[BudgetReport(**asdict(use)) for use in each.budgets],
        )
        for each in rates_by_role(current, rollout, boosts)
    ]


def _target(
    target: LiveTarget, state: State, version: str | None, current: Snapshot | None
) -> Target:
    receipt = target.receipt
    return Target(
        id=receipt.id,
        name=target.name,
        role=receipt.role,
        pid=receipt.pid or None,
        main=target.main,
        readable=target.readable,
        state=state,
        revision=receipt.revision,
        sequence=receipt.sequence,
        since=receipt.since,
        swap_ms=receipt.swap_ms,
        error=receipt.error,
        dsn=receipt.dsn,
        holders=[HolderReport(**holder._asdict()) for holder in receipt.holders],
        ignored=list(receipt.ignored),
        notes=[
            *target.notes,
            *([OVERDUE_HINT] if state == "overdue" and not receipt.foreign else []),
        ],
        library=receipt.library,
        sdk=receipt.sdk,
        is_apart=target.readable and are_apart(version or __version__, receipt.library),
        tally=_tally(receipt),
        dropped=None if receipt.dropped is None else dict(receipt.dropped),
        unhonoured=list(unhonoured(current, receipt)) if target.readable else [],
    )


def _tally(receipt: Receipt) -> dict[str, int]:
    answered: dict[str, int] = {
        kind: sum(getattr(answer, kind) for answer in receipt.answers) for kind in KINDS
    }
    return {**answered, **receipt.tally}
