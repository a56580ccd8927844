"""What ceilings, error rules and budgets do in the processes, as their receipts tell it."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from resentry.contract import ERROR_RULES_LIMIT, per_minute_of
from resentry.sampled import BUDGETS, CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from resentry.contract import Receipt, Snapshot

_RULE = re.compile(r"rule ([0-9]{1,3})")


class BudgetUse(NamedTuple):
    """One budget of a role, and what passes in its processes."""

    kind: str
    """`transactions` or `errors`."""
    per_minute: float
    share: float | None
    """The lowest share that passes in a process; `None` if no process says so."""


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
