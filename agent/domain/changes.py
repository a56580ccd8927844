"""What would change from one snapshot to another, by key and role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from resentry.contract import SETTING, TUNING
from resentry.tuning import without_none

if TYPE_CHECKING:
    from collections.abc import Iterator

    from resentry.contract import Snapshot

ORDER = "the order of its entries"


class Change(NamedTuple):
    """One value, or one entry of a list, before and after.

    `None` stands for what is not there. An empty `role` means all roles, but those that have
    a value of their own.
    """

    key: str
    role: str
    before: Any
    after: Any


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """Return all differences, in the order of keys and roles."""
    found = list(_of_values("", old.settings, new.settings))
    for role in sorted({*old.roles, *new.roles}):
        before = {**old.settings, **old.roles.get(role, {})}
        after = {**new.settings, **new.roles.get(role, {})}
        found += (
            change
            for change in _of_values(role, before, after)
            if change._replace(role="") not in found
        )
        # What every other role gets anew, and this one does not, because of its own.
        kept = {change.key for change in found if not change.role}
        found += (
            Change(key, role, before[key], after[key])
            for key in sorted(kept & before.keys() & after.keys())
            if before[key] == after[key]
        )
    for name in TUNING:
        found += _of_items(
            SETTING.format(name.upper()), getattr(old, name), getattr(new, name)
        )
    return found


def _of_values(role: str, before: Any, after: Any) -> Iterator[Change]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield Change(key, role, before.get(key), after.get(key))


def _of_items(key: str, old: Any, new: Any) -> Iterator[Change]:
    """Compare lists, whose order matters, entry by entry."""
    for item in old:
        if item not in new:
            yield Change(key, item.role or "", without_none(item), None)
    for item in new:
        if item not in old:
            yield Change(key, item.role or "", None, without_none(item))
    both = [item for item in old if item in new]
    if both != [item for item in new if item in old]:
        yield Change(key, "", ORDER, ORDER)
