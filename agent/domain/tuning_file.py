"""The tuning file: what may stand there, and how it lies on top of the source.

Whoever may write the file tunes sampling, and needs no right to write a DSN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.domain.guard_rails import name_in
from agent.domain.provenance import TUNING_FILE, provenance_of
from agent.domain.structured import Findings, tuning
from agent.domain.validate import (
    bounded,
    key_notes,
    odd_name,
    roles_in,
    settings_in,
)
from agent.domain.value import replace
from agent.errors import CandidateRefused
from resentry.contract import (
    SETTING,
    TUNING,
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

RATES = (
    "SENTRY_SAMPLE_RATE",
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
)
ROLES = "RESENTRY_ROLES"
TUNABLE = (*RATES, ROLES, *(SETTING.format(name.upper()) for name in TUNING))
"""All that a tuning file may hold. A role may have rates alone."""
FORBIDDEN = "must not stand in a tuning file"
HINT = (
    "correct the tuning file: it may hold rates, roles with rates, rules, errors, ceilings, "
    "budgets and boosts; everything else belongs to the source"
)

NO_SETTING = (
    "none of the keys is a setting; if one is a file with all, RESENTRY_TUNING_PATH names it",
)


def read_tuning(candidate: Candidate) -> tuple[Snapshot, tuple[str, ...]]:
    """Return what a tuning file holds, and notes; or raise `CandidateRefused`.

    The snapshot has nothing but what the file holds. Its provenance names the keys that
    stand there, also those with an empty list.
    """
    findings, values = Findings(), candidate.values
    findings.problems += filter(None, map(odd_name, values))
    findings.problems += (
        f"{key} {FORBIDDEN}"
        for key in (*KEYS, *STRUCTURED)
        if key in values and key not in TUNABLE
    )
    held = {key: values[key] for key in TUNABLE if key in values}
    roles = roles_in(held, findings)
    findings.problems += (
        f"{name_in(role, key)} {FORBIDDEN}"
        for role, own in roles.items()
        for key in own
        if key not in RATES
    )
    snapshot = Snapshot(
        settings=settings_in("", held, findings),
        roles=roles,
        **tuning(held, findings),
        provenance={
            key: {**origin, "source": TUNING_FILE}
            for key, origin in provenance_of(candidate)[0].items()
        },
    )
    if findings.problems:
        raise refused(findings.problems, candidate.fingerprint)
    snapshot = replace(snapshot, revision=revision_of(snapshot))
    notes = NO_SETTING if values and not held else ()
    return snapshot, (*candidate.notes, *notes, *key_notes(values))


def refused(problems: list[str], fingerprint: str) -> CandidateRefused:
    """Return the error for a tuning file that must not be used."""
    return CandidateRefused(bounded(problems), fingerprint, HINT)


def layered(base: Snapshot, tuning: Snapshot) -> Snapshot:
    """Return the source's snapshot with the tuning file on top.

    A key of the file replaces the key of the source; a rate of a role replaces that rate of
    the role. Only what a tuning file may hold is taken from it.
    """
    given = tuning.provenance
    lists: dict[str, Any] = {
        name: getattr(tuning, name)
        for name in TUNING
        if SETTING.format(name.upper()) in given
    }
    provenance = {
        **base.provenance,
        **{key: given[key] for key in TUNABLE if key in given},
    }
    if ROLES in base.provenance and ROLES in given:
        path = given[ROLES].get("path", "")
        provenance[ROLES] = {**base.provenance[ROLES], TUNING_FILE: path}
    snapshot = replace(
        base,
        settings={**base.settings, **_rates(tuning.settings)},
        roles={
            role: {**base.roles.get(role, {}), **_rates(tuning.roles.get(role, {}))}
            for role in (*base.roles, *(tuning.roles.keys() - base.roles.keys()))
        },
        provenance=provenance,
        **lists,
    )
    return replace(snapshot, revision=revision_of(snapshot))


def conflicts(
    base: Snapshot, tuning: Snapshot, guard_rails: GuardRails, now: float
) -> list[str]:
    """Return why the tuning must not lie on top of this snapshot of the source.

    What is wrong with the source's snapshot alone is no fault of the tuning file.
    """
    both = layered(base, tuning)
    known = guard_rails.problems(base, now)
    found = [
        f"{name} {text}"
        for name, text in guard_rails.problems(both, now).items()
        if known.get(name) != text
    ]
    if not found:
        try:
            encode_snapshot(both)
        except ContractError as error:
            found.append(f"no process could read it on top of the source: {error}")
    return found


def _rates(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: values[key] for key in RATES if key in values}
