"""Turns a candidate into a snapshot, or refuses it with all its problems at once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from agent.domain.guard_rails import name_in
from agent.domain.nearest import did_you_mean
from agent.errors import CandidateRefused
from resentry import formats
from resentry.contract import (
    BOOSTS_LIMIT,
    RULES_LIMIT,
    Boost,
    Rule,
    Snapshot,
    check,
    revision_of,
)
from resentry.values import KEYS, STRUCTURED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.guard_rails import GuardRails

KNOWN = (*KEYS, *STRUCTURED)
Item = TypeVar("Item", Rule, Boost)
PREFIXES = ("SENTRY_", "RESENTRY_")
ROLES = ("api", "celery")


class Validated(NamedTuple):
    """A snapshot that may be published (without a number), and notes for an operator."""

    snapshot: Snapshot
    notes: tuple[str, ...]


class _Findings:
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


def validate(
    candidate: Candidate, guard_rails: GuardRails, last_good: Snapshot | None
) -> Validated:
    """Return the candidate as a snapshot, or raise `CandidateRefused`.

    A candidate that names no environment is judged by that of the guard rails.
    """
    findings = _Findings()
    values = candidate.values
    for name in values:
        if name.startswith(PREFIXES) and name not in KNOWN:
            meant = did_you_mean(name, KNOWN)
            findings.problems.append(f"{name} is not a known key{meant}")

    settings = _settings("", values, findings)
    roles = _roles(values, findings)
    snapshot = Snapshot(
        settings=settings,
        roles=roles,
        rules=_items(values, "RESENTRY_RULES", _rule, RULES_LIMIT, findings),
        boosts=_items(values, "RESENTRY_BOOSTS", _boost, BOOSTS_LIMIT // 2, findings),
        provenance={k: v for k, v in candidate.provenance.items() if k in KNOWN},
    )
    if not findings.problems:
        judged = guard_rails.problems(settings, roles)
        findings.problems += [f"{name} {problem}" for name, problem in judged.items()]
        findings.problems += [
            f"boost {boost.id} is above the cap of {guard_rails.boost_cap:g} "
            "(RESENTRY_BOOST_CAP sets the cap)"
            for boost in snapshot.boosts
            if boost.traces > guard_rails.boost_cap
        ]
    vanished = sorted(last_good.settings.keys() - values.keys()) if last_good else []
    if "SENTRY_DSN" in vanished:
        findings.problems.append(
            "SENTRY_DSN is gone from the source; to turn reporting off outside "
            "production, set SENTRY_DSN to an empty value"
        )
    if findings.problems:
        raise CandidateRefused(
            list(dict.fromkeys(findings.problems)), candidate.fingerprint
        )
    return Validated(
        replace(snapshot, revision=revision_of(snapshot)),
        (*_notes(values, settings, vanished), *_without_dsn(snapshot, guard_rails)),
    )


def _notes(
    values: Mapping[str, Any], settings: Mapping[str, Any], vanished: list[str]
) -> tuple[str, ...]:
    notes = []
    if vanished:
        notes.append(
            f"keys are gone from the source: {', '.join(vanished)}; a process takes its own "
            "environment variable, else the default"
        )
    if settings.get("SENTRY_RELEASE"):
        notes.append(
            "SENTRY_RELEASE is set at the source: during a deployment the old and the "
            "new version of the application report the same release"
        )
    ignored = sum(name not in KNOWN for name in values)
    if ignored:
        notes.append(f"other keys ignored: {ignored}")
    return tuple(notes)


def _without_dsn(snapshot: Snapshot, guard_rails: GuardRails) -> tuple[str, ...]:
    """Return a note if processes get no DSN from this snapshot, but need one."""
    lacking = [
        role
        for role in ROLES
        if guard_rails.lacks_dsn({**snapshot.settings, **snapshot.roles.get(role, {})})
    ]
    note = (
        f"the source has no SENTRY_DSN for role {' and '.join(lacking)}, which production "
        "requires: a process refuses this snapshot unless its own environment variable "
        "SENTRY_DSN holds a DSN"
    )
    return (note,) if lacking else ()


def _settings(
    role: str, values: Mapping[str, Any], findings: _Findings
) -> dict[str, Any]:
    return {
        name: findings.parse(name_in(role, name), key.parse, values[name])
        for name, key in KEYS.items()
        if name in values
    }


def _roles(values: Mapping[str, Any], findings: _Findings) -> dict[str, dict[str, Any]]:
    given = findings.parse(
        "RESENTRY_ROLES", _object, values.get("RESENTRY_ROLES") or {}
    )
    roles = {}
    for role, own in (given or {}).items():
        if role not in ROLES or not isinstance(own, dict):
            findings.problems.append(
                f"RESENTRY_ROLES must hold one object per role, of {' and '.join(ROLES)}"
            )
            continue
        unknown = sorted(set(own) - set(KEYS))
        if unknown:
            findings.problems.append(
                f"{', '.join(unknown)} of role {role} is not a known key"
            )
        roles[role] = _settings(role, own, findings)
    return roles


def _items(
    values: Mapping[str, Any],
    name: str,
    parse: Callable[[Any], Any],
    limit: int,
    findings: _Findings,
) -> tuple[Any, ...]:
    given = findings.parse(name, _array, values.get(name) or [])
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


def _rule(item: Any) -> Rule:
    fields = _fields(item, {"match", "traces", "role"}, required={"match", "traces"})
    return _checked(Rule(**fields))


def _boost(item: Any) -> Boost:
    return _checked(
        Boost(
            **_fields(
                item,
                {"id", "traces", "until", "match", "role"},
                required={"id", "traces", "until"},
            )
        )
    )


def _checked(item: Item) -> Item:
    """Return the item with its rate as a number, or raise `ValueError`."""
    try:
        item = item._replace(traces=formats.rate(item.traces))
    except ValueError as error:
        raise ValueError(f"traces {error}") from None
    check(item)
    check_match(item.match)
    if item.role not in (None, *ROLES):
        raise ValueError(f"role must be {' or '.join(ROLES)}")
    return item


def check_match(match: object) -> None:
    """Raise `ValueError` if no transaction can match. `None` matches every one."""
    if match is None:
        return
    try:
        text = formats.words(match, formats.MATCH_LIMIT)
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
    named = [name for name in odd if formats.ROLE.match(name) and len(name) <= 20]
    unknown = f"; unknown: {', '.join(named)}" if named else ""
    raise ValueError(
        f"must be an object with {', '.join(sorted(required))} and optionally "
        f"{', '.join(sorted(allowed - required))}{unknown}"
    )


def _object(raw: Any) -> dict[str, Any]:
    given = _json(raw)
    if not isinstance(given, dict):
        raise ValueError("must be a JSON object")
    return given


def _array(raw: Any) -> list[Any]:
    given = _json(raw)
    if not isinstance(given, list):
        raise ValueError("must be a JSON array")
    return given


def _json(raw: Any) -> Any:
    if not isinstance(raw, str):
        return raw
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
