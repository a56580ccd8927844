"""Reads the values of a candidate that hold JSON: rules, boosts, and the text of roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from agent.domain import bounded_json
from agent.redact import is_plain_name, kind_of_secret
from resentry import formats
from resentry.contract import Boost, Rule, check

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Item = TypeVar("Item", Rule, Boost)


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


def items_of(
    values: Mapping[str, Any],
    name: str,
    parse: Callable[[Any], Any],
    limit: int,
    findings: Findings,
) -> tuple[Any, ...]:
    """Read a list of rules or boosts. Each that is bad is a finding."""
    given = findings.parse(name, _array, values.get(name, ""))
    if given and len(given) > limit:
        findings.problems.append(
            f"{name} has {len(given)} entries; {limit} are the limit"
        )
        return ()
    parsed = [
        findings.parse(f"{name}[{index}]", parse, item)
        for index, item in enumerate(given or ())
    ]
    return tuple(item for item in parsed if item is not None)


def rule(item: Any) -> Rule:
    """Read one rule, or raise `ValueError`."""
    fields = _fields(item, {"match", "traces", "role"}, required={"match", "traces"})
    return _checked(Rule(**fields))


def boost(item: Any) -> Boost:
    """Read one boost, or raise `ValueError`."""
    return _checked(
        Boost(
            **_fields(
                item,
                {"id", "traces", "until", "match", "role"},
                required={"id", "traces", "until"},
            )
        )
    )


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
    try:
        item = item._replace(traces=formats.rate(item.traces))
    except ValueError as error:
        raise ValueError(f"traces {error}") from None
    check(item)
    check_match(item.match)
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
    raise ValueError(
        f"must be an object with {', '.join(sorted(required))} and optionally "
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
