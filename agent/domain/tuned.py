"""What ceilings, error rules and budgets do in the processes, as their receipts tell it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from agent.domain.value import Value
from resentry.contract import ERROR_RULES_LIMIT, per_minute_of
from resentry.sampled import BUDGETS, CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resentry.contract import Receipt, Snapshot

CALM_SECONDS = 300.0
"""So long a budget has to let everything pass before its cut counts as over."""
_RULE = re.compile(r"rule ([0-9]{1,3})")


class BudgetUse(Value, frozen=True):
    """One budget of a role, and what passes in its processes."""

    kind: str
    """`transactions` or `errors`."""
    per_minute: float
    share: float | None
    """The lowest share that passes in a process, of what no rule and no boost names.

    What one names goes first. `None` if no process says so.
    """


def budget_uses(
    current: Snapshot | None, role: str, receipts: Iterable[Receipt]
) -> tuple[BudgetUse, ...]:
    """Return the budgets of a role. The receipts are those of its processes."""
    if current is None or not current.budgets:
        return ()
    given = list(receipts)
    found = []
    for kind in BUDGETS:
        per_minute = per_minute_of(current.budgets, role, kind)
        shares = [each.budgets[kind] for each in given if kind in each.budgets]
        if per_minute is not None:
            found.append(BudgetUse(kind, per_minute, min(shares, default=None)))
    return tuple(found)


class Cut(Value, frozen=True):
    """A budget that does not let everything pass. Times are in seconds since the epoch."""

    role: str
    use: BudgetUse
    """The budget, and its share when it was cutting last."""
    since: float
    seen: float
    """When it was cutting last."""

    @property
    def budget(self) -> str:
        """Which budget it is, in words."""
        use = self.use
        return (
            f"the budget of {use.per_minute:g} {use.kind} a minute of role {self.role}"
        )

    @property
    def sentence(self) -> str:
        """What it does, in words."""
        share = f"{self.use.share or 0.0:.3g}"
        return f"{self.budget} is reached: {share} of what no rule and no boost names passes"

    @property
    def end(self) -> str:
        """What is told when it is over."""
        return (
            f"{self.budget} has let everything pass for {CALM_SECONDS / 60:g} minutes"
        )


def cuts_of(
    before: Iterable[Cut],
    current: Snapshot | None,
    receipts: Iterable[Receipt],
    now: float,
) -> tuple[Cut, ...]:
    """Return the budgets that are reached, or were so in the last five minutes.

    A load that comes and goes is one cut, not many.
    """
    if current is None or not current.budgets:
        return ()
    by_role: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_role.setdefault(receipt.role, []).append(receipt)
    known = {(cut.role, cut.use.kind, cut.use.per_minute): cut for cut in before}
    found = []
    for role in sorted({*by_role, *(cut.role for cut in before)}):
        for use in budget_uses(current, role, by_role.get(role, ())):
            cut = known.get((role, use.kind, use.per_minute))
            if use.share is not None and use.share < 1:
                found.append(Cut(role, use, cut.since if cut else now, now))
            elif cut is not None and now - cut.seen < CALM_SECONDS:
                found.append(cut)
    return tuple(found)


def cut_changes(
    before: Iterable[Cut], after: Iterable[Cut]
) -> tuple[list[Cut], list[Cut]]:
    """Return the cuts that have begun, and those that have ended."""
    old, new = ({(c.role, c.use.kind): c for c in cuts} for cuts in (before, after))
    return (
        [cut for name, cut in new.items() if name not in old],
        [cut for name, cut in old.items() if name not in new],
    )


def dropped_errors(receipts: Iterable[Receipt]) -> dict[str, int]:
    """Return how many errors were dropped over all of these processes, by cause."""
    dropped: Counter[str] = Counter()
    for receipt in receipts:
        dropped.update(receipt.dropped or {})
    return dict(dropped)


def unhonoured(current: Snapshot | None, receipt: Receipt) -> tuple[str, ...]:
    """Return what of the snapshot is for a process whose library is too old for it."""
    # A library that knows these things writes what it dropped, be it nothing.
    if current is None or receipt.dropped is not None or receipt.foreign:
        return ()
    parts: Mapping[str, Iterable[str | None]] = {
        "ceilings": [each.role for each in current.ceilings],
        "error rules": [each.role for each in current.errors],
        "budgets": [each.role for each in current.budgets],
    }
    return tuple(
        name for name, roles in parts.items() if {None, receipt.role} & {*roles}
    )


def known_only(receipt: Receipt) -> Receipt:
    """Return the receipt without causes and budgets that this agent does not know."""
    dropped = receipt.dropped
    return receipt._replace(
        dropped=dropped and {k: n for k, n in dropped.items() if is_cause(k)},
        budgets={k: v for k, v in receipt.budgets.items() if k in BUDGETS},
    )


def is_cause(name: str) -> bool:
    """Whether this can have dropped an error."""
    rule = _RULE.fullmatch(name)
    return name in CAUSES or (
        rule is not None and int(rule.group(1)) < ERROR_RULES_LIMIT
    )
