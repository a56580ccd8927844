"""What each role sends, and why: the rates that its processes run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.domain.tuned import BudgetUse, budget_uses
from agent.domain.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent.domain.rollout import LiveTarget, Rollout
    from resentry.contract import Receipt, Snapshot

ERRORS = "SENTRY_SAMPLE_RATE"
"""The rate of errors: 0 ends error reports as silently as a dead key does."""
FOREIGN = "the application's own client runs"
"""Why a process sends nothing by resentry."""
RATES = (
    ERRORS,
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
)
LOGS = "SENTRY_ENABLE_LOGS"
"""A switch, which is a rate of 0 or 1 here."""
OPTIONAL = ("SENTRY_PROFILE_SESSION_SAMPLE_RATE", LOGS)
"""These are named only where they are set: else the application's own options decide."""
ORIGINS = {
    "role": "its role in the snapshot",
    "snapshot": "the snapshot",
    "environment": "its environment variables",
    "default": "the default",
}
"""Where a process has a value from, in words, by the word in its receipt."""


class Rate(Value, frozen=True):
    """One rate that runs, and where it is from."""

    setting: str
    value: float | None
    """`None` if the rate is not set: nothing of the kind is sent."""
    origin: str


class RoleRates(Value, frozen=True):
    """The rates of the processes of one role. Processes that differ make another one."""

    role: str
    processes: tuple[str, ...]
    rates: tuple[Rate, ...]
    off: str
    """Why these processes send nothing; else empty."""
    rules: int
    """How many sampling rules come before the trace rate."""
    boosts: tuple[str, ...]
    """The ids of the boosts in force that are for this role."""
    budgets: tuple[BudgetUse, ...] = ()


def rates_by_role(
    current: Snapshot | None, rollout: Rollout, boosts: Iterable[str]
) -> tuple[RoleRates, ...]:
    """Return the rates of each role. `boosts` are the ids of those in force."""
    groups: dict[tuple[Any, ...], list[LiveTarget]] = {}
    for target, _ in rollout.targets:
        receipt = target.receipt
        if target.readable:
            key = (receipt.role, tuple(_rates(receipt)), _why_off(receipt))
            groups.setdefault(key, []).append(target)
    in_force = set(boosts)
    found = []
    for (role, rates, off), targets in sorted(
        groups.items(), key=lambda item: item[0][0]
    ):
        names = tuple(target.name for target in targets)
        rules = (
            sum(rule.role in (None, role) for rule in current.rules) if current else 0
        )
        running = tuple(
            boost.id
            for boost in (current.boosts if current else ())
            if boost.id in in_force and boost.role in (None, role)
        )
        receipts = [target.receipt for target in targets]
        budgets = budget_uses(current, role, receipts)
        found.append(RoleRates(role, names, rates, off, rules, running, budgets))
    return tuple(found)


def _rates(receipt: Receipt) -> Iterable[Rate]:
    for name in (*RATES, *OPTIONAL):
        value = receipt.values.get(name)
        is_number = isinstance(value, int | float) and (
            name == LOGS or not isinstance(value, bool)
        )
        rate = float(value) if is_number else None  # type: ignore[arg-type]
        if name in OPTIONAL and rate is None:
            continue
        yield Rate(name, rate, receipt.origins.get(name, ""))


def _why_off(receipt: Receipt) -> str:
    if receipt.foreign:
        return FOREIGN
    if receipt.dsn:
        return ""
    switch = "SENTRY_ENABLE_FOR_CELERY"
    if receipt.role == "celery" and receipt.values.get(switch) is False:
        return f"{switch}=false switches Sentry off"
    return "it has no DSN"
