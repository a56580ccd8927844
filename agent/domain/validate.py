"""Turns a candidate into a snapshot, or refuses it with all its problems at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from agent.domain.guard_rails import name_in
from agent.domain.nearest import did_you_mean
from agent.domain.provenance import provenance_of
from agent.domain.structured import (
    Findings,
    no_secret,
    object_of,
    tuning,
)
from agent.domain.value import replace
from agent.errors import CandidateRefused
from agent.redact import is_plain_name, kind_of_secret
from resentry import formats
from resentry.contract import (
    ROLES_LIMIT,
    ContractError,
    Snapshot,
    encode_snapshot,
    revision_of,
)
from resentry.values import KEYS, STRUCTURED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.candidate import Candidate
    from agent.domain.guard_rails import GuardRails

KNOWN = (*KEYS, *STRUCTURED)
PREFIXES = ("SENTRY_", "RESENTRY_")
_SHOWN = ("SENTRY_RELEASE", "SENTRY_ENVIRONMENT")
"""Free texts, which `status` and each event show."""
_SHORT = tuple(
    key.removeprefix("SENTRY_") for key in KEYS if key != "SENTRY_ENVIRONMENT"
)
"""What keys are called by mistake. An `ENVIRONMENT` is often meant for something else."""
PROBLEMS_LIMIT = 20
"""An error names this many problems, and counts the rest."""


class Validated(NamedTuple):
    """A snapshot that may be published (without a number), and notes for an operator."""

    snapshot: Snapshot
    notes: tuple[str, ...]


def validate(
    candidate: Candidate,
    guard_rails: GuardRails,
    last_good: Snapshot | None,
    now: float,
) -> Validated:
    """Return the candidate as a snapshot, or raise `CandidateRefused`.

    A candidate that names no environment is judged by that of the guard rails. `now` is
    the time of day, in seconds since the epoch.
    """
    findings = Findings()
    values = candidate.values
    findings.problems += filter(None, map(odd_name, values))
    settings = settings_in("", values, findings)
    provenance, notes = provenance_of(candidate)
    snapshot = Snapshot(
        settings=settings,
        roles=roles_in(values, findings),
        **tuning(values, findings),
        provenance=provenance,
        judged_by=guard_rails.environment,
    )
    if not findings.problems:
        judged = guard_rails.problems(snapshot, now)
        findings.problems += [f"{name} {problem}" for name, problem in judged.items()]
    vanished = sorted(last_good.settings.keys() - values.keys()) if last_good else []
    if "SENTRY_DSN" in vanished and "SENTRY_DSN" not in map(_usual, values):
        meant = _misnamed("DSN") if "DSN" in values else ""
        findings.problems.append(
            "SENTRY_DSN is gone from the source; to turn reporting off outside "
            f"production, set SENTRY_DSN to an empty value{meant and f'; {meant}'}"
        )
    if not findings.problems:
        snapshot = replace(snapshot, revision=revision_of(snapshot))
        try:
            encode_snapshot(snapshot)
        except ContractError as error:
            problem = f"no process could read these values as a snapshot: {error}"
            findings.problems.append(problem)
    if findings.problems:
        raise CandidateRefused(bounded(findings.problems), candidate.fingerprint)
    notes += _notes(values, settings, vanished)
    return Validated(snapshot, (*notes, *_without_dsn(snapshot, guard_rails)))


def odd_name(name: str) -> str | None:
    """Return what is wrong with a key's name; `None` if it is known, or not ours."""
    if name in KNOWN:
        return None
    usual = _usual(name)
    if usual in KNOWN:
        return f"a key differs from {usual} only in case, spaces or dashes: name it {usual}"
    if not name.startswith(PREFIXES):
        return None
    return f"{_shown(name)} is not a known key{did_you_mean(name, KNOWN)}"


def _usual(name: str) -> str:
    """Return a key's name in the form in which names are compared."""
    return name.strip().upper().replace("-", "_")


def _misnamed(name: str) -> str:
    return (
        f"the key {name} is ignored: if it is meant for Sentry, name it SENTRY_{name}"
    )


def _shown(name: str) -> str:
    """Return a key's name, unless it looks like a value, which may be secret."""
    return name if is_plain_name(name) else "a key with an odd name"


def bounded(problems: list[str]) -> list[str]:
    """Return each problem once; if there are many, the first ones and a count."""
    listed = list(dict.fromkeys(problems))
    if len(listed) <= PROBLEMS_LIMIT:
        return listed
    more = f"and {len(listed) - PROBLEMS_LIMIT} more problems"
    return [*listed[:PROBLEMS_LIMIT], more]


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
    return (*notes, *key_notes(values))


def key_notes(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return notes on keys that are not read."""
    ignored = sum(name not in KNOWN for name in values)
    misnamed = [
        _misnamed(name)
        for name in _SHORT
        if name in values and f"SENTRY_{name}" not in values
    ]
    return (*[f"other keys ignored: {ignored}"] * bool(ignored), *misnamed)


def _without_dsn(snapshot: Snapshot, guard_rails: GuardRails) -> tuple[str, ...]:
    """Return a note if processes get no DSN from this snapshot, but need one."""
    lacking = {
        role: guard_rails.lacks_dsn({**snapshot.settings, **own})
        for role, own in {"": {}, **snapshot.roles}.items()
    }
    everywhere = lacking.pop("")
    roles = [role for role, lacks in lacking.items() if lacks is not everywhere]
    if everywhere:
        whose = f" (roles {', '.join(roles)} have one)" if roles else ""
    elif roles:
        whose = f" for roles {', '.join(roles)}"
    else:
        return ()
    note = (
        f"the source has no SENTRY_DSN{whose}, which production requires: a process "
        "refuses this snapshot unless its own environment variable SENTRY_DSN holds a DSN"
    )
    return (note,)


def settings_in(
    role: str, values: Mapping[str, Any], findings: Findings
) -> dict[str, Any]:
    """Read the single values: those of a role, or the shared ones."""
    return {
        name: findings.parse(name_in(role, name), partial(_value, name), values[name])
        for name in KEYS
        if name in values
    }


def _value(name: str, raw: Any) -> Any:
    value = KEYS[name].parse(raw)
    return no_secret(value) if name in _SHOWN and value else value


def roles_in(
    values: Mapping[str, Any], findings: Findings
) -> dict[str, dict[str, Any]]:
    """Read the values of each role."""
    given = findings.parse(
        "RESENTRY_ROLES", object_of, values.get("RESENTRY_ROLES", "")
    )
    roles = {}
    if len(given or ()) > ROLES_LIMIT:
        problem = f"RESENTRY_ROLES has {len(given)} roles; {ROLES_LIMIT} are the limit"
        findings.problems.append(problem)
        return {}
    for role, own in (given or {}).items():
        if kind := kind_of_secret(role, may_be_a_name=True):
            findings.problems.append(
                f"RESENTRY_ROLES has a name that looks like {kind}"
            )
            continue
        if not formats.ROLE.match(role) or not isinstance(own, dict):
            findings.problems.append(
                "RESENTRY_ROLES must hold one object per role; a role has 1 to 64 "
                "letters, digits or any of _.-"
            )
            continue
        unknown = sorted(set(own) - set(KEYS))
        if unknown:
            shown = ", ".join(map(_shown, unknown[:PROBLEMS_LIMIT]))
            findings.problems.append(f"{name_in(role, shown)} is not a known key")
        roles[role] = settings_in(role, own, findings)
    return roles
