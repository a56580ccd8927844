"""What tunes sampling beside the plain rates: rules, boosts, ceilings, error rules, budgets.

Import these from `resentry.contract`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from resentry import formats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KEEP = "keep"
"""The `parent` of a rule or boost that lets the parent's decision stand."""
PER_MINUTE_LIMIT = 1_000_000.0
"""The largest budget."""
ERRORS_PER_MINUTE_LIMIT = 1000
"""The largest `per_minute` of an error rule: a process remembers so many times."""
_ID_LIMIT = 64
_CLASS = re.compile(r"[A-Za-z_*][A-Za-z0-9_.*]{0,199}\Z")


class Rule(NamedTuple):
    """The trace rate of each transaction that `match` fits, in one role or in all roles."""

    match: str
    traces: float
    role: str | None = None
    parent: str | None = None


class Boost(NamedTuple):
    """A trace rate that ends by itself at `until`: ISO text, as `2026-11-24T06:15:00Z`."""

    id: str
    traces: float
    until: str
    match: str | None = None
    role: str | None = None
    parent: str | None = None


class Ceiling(NamedTuple):
    """The highest rate of traces, of errors, or of both, whatever else decides.

    Without `until` it does not end. An operator's ceiling has an `id`.
    """

    traces: float | None = None
    errors: float | None = None
    until: str | None = None
    match: str | None = None
    role: str | None = None
    id: str | None = None


class ErrorRule(NamedTuple):
    """The rate of errors, their number per minute and process, or both.

    `exception` fits the dotted name of an exception's class, or of one of its bases;
    `logger` the name of a logger. In both, `*` stands for any text.
    """

    exception: str | None = None
    logger: str | None = None
    role: str | None = None
    rate: float | None = None
    per_minute: float | None = None


class Budget(NamedTuple):
    """The highest number of transactions, of errors, or of both, per minute and process."""

    transactions: float | None = None
    errors: float | None = None
    role: str | None = None


def per_minute_of(budgets: Sequence[Budget], role: str, field: str) -> float | None:
    """Return the budget of a role for one kind of events; `None` without one.

    It is the role's own, else that of all roles; the first counts. A role's budget for
    transactions leaves the one of all roles for errors in force.
    """
    of_role: dict[str | None, float] = {
        each.role: per_minute
        for each in reversed(budgets)
        if (per_minute := getattr(each, field)) is not None
    }
    return of_role.get(role, of_role.get(None))


Item = TypeVar("Item", Rule, Boost, Ceiling, ErrorRule, Budget)


def _rate(value: object) -> float:
    # Elsewhere a rate may be text; here it must be a number.
    return formats.rate(None if isinstance(value, str) else value)


def _budget(value: object) -> float:
    count = formats.number(None if isinstance(value, str) else value)
    if not 0 < count <= PER_MINUTE_LIMIT:
        raise ValueError("must be more than 0 and at most a million per minute")
    return count


def _per_minute(value: object) -> float:
    count = formats.number(None if isinstance(value, str) else value)
    if count != int(count) or not 0 < count <= ERRORS_PER_MINUTE_LIMIT:
        raise ValueError(f"must be a whole number from 1 to {ERRORS_PER_MINUTE_LIMIT}")
    return count


def _match(value: object) -> str:
    return formats.words(value, formats.MATCH_LIMIT)


def _id(value: object) -> str:
    return formats.words(value, _ID_LIMIT)


def _parent(value: object) -> str:
    if value != KEEP:
        raise ValueError(f"must be {KEEP}")
    return KEEP


def _exception(value: object) -> str:
    if not isinstance(value, str) or not _CLASS.match(value):
        raise ValueError(
            "must be a class with its module, as app.errors.Declined or django.*"
        )
    return value


READERS: Mapping[str, Callable[[object], Any]] = {
    "id": _id,
    "traces": _rate,
    "errors": _rate,
    "rate": _rate,
    "per_minute": _per_minute,
    "transactions": _budget,
    "until": formats.moment,
    "match": _match,
    "role": formats.role,
    "parent": _parent,
    "exception": _exception,
    "logger": _match,
}
"""Each field of an item, and what reads it."""
OTHER_READERS: Mapping[type, Mapping[str, Callable[[object], Any]]] = {
    Budget: {"errors": _budget}
}
"""The fields that are something else in an item of this kind."""
NUMBERS = frozenset({"traces", "errors", "rate", "per_minute", "transactions"})
"""The fields that are numbers."""
ONE_OF: Mapping[type, tuple[str, ...]] = {
    Ceiling: ("traces", "errors"),
    ErrorRule: ("rate", "per_minute"),
    Budget: ("transactions", "errors"),
}
"""An item of this kind needs one of these fields, or both."""


def required(kind: type[Item]) -> set[str]:
    """Return the fields that an item of this kind must have."""
    return set(kind._fields) - kind._field_defaults.keys()


def check(item: Item) -> None:
    """Raise `ValueError` if a field does not have its form. No value is quoted."""
    values: Mapping[str, Any] = item._asdict()
    readers = {**READERS, **OTHER_READERS.get(type(item), {})}
    for name, value in values.items():
        if value is None and name in item._field_defaults:
            continue
        try:
            readers[name](value)
        except ValueError as error:
            raise ValueError(f"{name} {error}") from None
    if _is_empty(item):
        raise ValueError(f"must have {' or '.join(ONE_OF[type(item)])}")


def _is_empty(item: Item) -> bool:
    values = item._asdict()
    return {values[name] for name in ONE_OF.get(type(item), ())} == {None}


def read_items(kind: type[Item], items: Any) -> tuple[tuple[Item, ...], list[str]]:
    """Read items of one kind; return them, and the names of unknown fields.

    A newer version may add fields: they are skipped. An item with an unknown field that
    lacks a field needed here is of a newer kind: the whole item is skipped. A malformed
    item raises `ValueError`, `TypeError` or `AttributeError`.
    """
    items_read: list[Item] = []
    unknown: dict[str, None] = {}
    for item in items:
        known = item.keys() & set(kind._fields)
        later = sorted(item.keys() - known)
        unknown.update(dict.fromkeys(later))
        try:
            read = kind(**{name: item[name] for name in known})
        except TypeError:
            if not later:
                raise
            continue
        if later and _is_empty(read):
            continue
        check(read)
        items_read.append(read)
    return tuple(items_read), list(unknown)


def without_none(item: Item) -> dict[str, Any]:
    """Return the fields that an item has."""
    values = item._asdict().items()
    return {name: value for name, value in values if value is not None}
