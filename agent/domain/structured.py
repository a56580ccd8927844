"""Reads the values of a candidate that hold JSON: rules and the like, and roles."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from agent.domain import bounded_json
from agent.redact import is_plain_name, kind_of_secret
from resentry import formats
from resentry.contract import (
    NUMBERS,
    SETTING,
    TUNING,
    Boost,
    Budget,
    Ceiling,
    ErrorRule,
    Rule,
    check,
    required,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Item = TypeVar("Item", Rule, Boost, Ceiling, ErrorRule, Budget)


ENDING = ("RESENTRY_BOOSTS", "RESENTRY_CEILINGS")
"""What operators add to by commands."""


class Findings:
    """Collects the problems of one candidate. Values are never quoted."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def parse(self, where: str, parse: Callable[[Any], Any], raw: Any) -> Any:
        """Return the typed value, or note the problem and return `None`."""
        try:
            return parse(raw)
        except ValueError as error:
            self.problems.append(f"{where} {error}")
            return None


def tuning(values: Mapping[str, Any], findings: Findings) -> dict[str, Any]:
    """Return the lists of a snapshot that these values hold, by their name there."""
    return {
        name: _items(values, SETTING.format(name.upper()), kind, limit, findings)
        for name, (kind, limit) in TUNING.items()
    }


def _items(
    values: Mapping[str, Any],
    name: str,
    kind: type[Item],
    limit: int,
    findings: Findings,
) -> tuple[Item, ...]:
    """Read a list of rules or the like. Each that is bad is a finding."""
    if name in ENDING:  # the other half is for operators
        limit //= 2
    given = findings.parse(name, _array, values.get(name, ""))
    if given and len(given) > limit:
        findings.problems.append(
            f"{name} has {len(given)} entries; {limit} are the limit"
        )
        return ()
    parsed = [
        findings.parse(f"{name}[{index}]", partial(item_of, kind), item)
        for index, item in enumerate(given or ())
    ]
    return tuple(item for item in parsed if item is not None)


def item_of(kind: type[Item], item: Any) -> Item:
    """Read one rule, boost or the like, or raise `ValueError`."""
    needed = required(kind)
    allowed = set(kind._fields) - ({"id"} - needed)  # else it is an operator's
    return _checked(kind(**_fields(item, allowed, required=needed)))


def no_secret(text: str) -> str:
    """Return the text, which everybody may see; raise `ValueError` for a secret."""
    if kind := kind_of_secret(text, may_be_a_name=True):
        raise ValueError(f"looks like {kind}, which must not stand here")
    return text


def role_name(text: object) -> str:
    """Return a role that an operator has named; raise `ValueError` for any other text."""
    return no_secret(formats.role(text))


def _checked(item: Item) -> Item:
    """Return the item with its rate as a number, or raise `ValueError`."""
    for name, value in item._asdict().items():
        if isinstance(value, str):
            try:
                no_secret(value)
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
    for name in NUMBERS & set(item._fields):
        with contextlib.suppress(ValueError):  # what it must be is said by `check`
            number: Any = formats.number(getattr(item, name))
            item = item._replace(**{name: number})
    check(item)
    check_match(getattr(item, "match", None))
    return item


def check_match(match: object) -> None:
    """Raise `ValueError` if no transaction can match. `None` matches every one."""
    if match is None:
        return
    try:
        text = no_secret(formats.words(match, formats.MATCH_LIMIT))
    except ValueError as error:
        raise ValueError(f"match {error}") from None
    if formats.names_route(text):
        raise ValueError(
            "match names a route, which is not known yet when the rate is decided: "
            "write * in place of {...} or <...>, as in GET /users/*"
        )


def _fields(item: Any, allowed: set[str], *, required: set[str]) -> dict[str, Any]:
    """Return the item's fields, or raise `ValueError`.

    An unknown field is quoted only if it looks like a name of a field, not like a value.
    """
    if isinstance(item, dict) and required <= item.keys() <= allowed:
        return dict(item)
    odd = sorted(item.keys() - allowed) if isinstance(item, dict) else []
    named = [name for name in odd if is_plain_name(name) and len(name) <= 20][:10]
    unknown = f"; unknown: {', '.join(named)}" if named else ""
    needed = f"{', '.join(sorted(required))} and " if required else ""
    raise ValueError(
        f"must be an object with {needed}optionally "
        f"{', '.join(sorted(allowed - required))}{unknown}"
    )


def object_of(raw: Any) -> dict[str, Any]:
    """Read an object, also from its text, or raise `ValueError`. An empty text is none."""
    given = {} if raw in ("", None) else _json(raw)
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object")
    return given


def _array(raw: Any) -> list[Any]:
    given = [] if raw in ("", None) else _json(raw)
    if not isinstance(given, list):
        raise ValueError("must be a JSON array")
    return given


def _json(raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return bounded_json.loads(raw)
    except bounded_json.TooManyError:
        raise
    except ValueError:
        raise ValueError("is not JSON, or has a name twice") from None
