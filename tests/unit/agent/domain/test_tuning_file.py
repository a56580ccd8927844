"""What a tuning file may hold, and how it lies on top of the source."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.tuning_file import (
    NO_SETTING,
    RATES,
    TUNABLE,
    conflicts,
    layered,
    read_tuning,
)
from agent.domain.validate import validate
from agent.errors import CandidateRefused
from resentry.contract import Budget, Rule, Snapshot, decode_snapshot, encode_snapshot
from resentry.values import KEYS, STRUCTURED

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/1"
NOW = 1_800_000_000.0


def candidate(where: str, values: dict[str, Any]) -> Candidate:
    origins = {key: {"source": where, "path": f"/{where}/{key}"} for key in values}
    return Candidate(values, origins)


def source(**values: Any) -> Snapshot:
    given = candidate("vault", {"SENTRY_DSN": DSN, **values})
    return validate(given, GuardRails(), None, NOW).snapshot


def tuning(**values: Any) -> Snapshot:
    return read_tuning(candidate("file", values))[0]


@pytest.mark.parametrize("key", sorted({*KEYS, *STRUCTURED} - {*TUNABLE}))
def test_what_belongs_to_the_source_is_refused(key: str) -> None:
    """A DSN, an environment, PII, a switch: by name, and no value is quoted."""
    with pytest.raises(CandidateRefused) as refused:
        tuning(**{key: DSN, "SENTRY_TRACES_SAMPLE_RATE": "0.1"})
    assert refused.value.what == f"{key} must not stand in a tuning file"
    assert "belongs to the source" in refused.value.hint


def test_a_file_without_any_setting_is_named() -> None:
    """As a ConfigMap whose one key is a file with all of them."""
    _, notes = read_tuning(candidate("file", {"tuning.json": "{}"}))
    assert notes == (*NO_SETTING, "other keys ignored: 1")
    held = {"SENTRY_SAMPLE_RATE": "0.5", "README": "x"}
    assert read_tuning(candidate("file", held))[1] == ("other keys ignored: 1",)
    assert read_tuning(candidate("file", {}))[1] == ()


@pytest.mark.parametrize("key", sorted(KEYS.keys() - {*RATES}))
def test_a_role_has_rates_alone(key: str) -> None:
    good = {"SENTRY_DSN": DSN, "SENTRY_ENVIRONMENT": "test", "SENTRY_RELEASE": "1"}
    roles = {"api": {key: good.get(key, True)}}
    with pytest.raises(CandidateRefused) as refused:
        tuning(RESENTRY_ROLES=json.dumps(roles))
    assert refused.value.what == f"{key} of role api must not stand in a tuning file"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"SENTRY_TRACES_SAMPLE_RATE": "2"}, "SENTRY_TRACES_SAMPLE_RATE"),
        ({"RESENTRY_RULES": "[{}]"}, "RESENTRY_RULES[0] must be an object"),
        ({"SENTRY_TRACE_RATE": "1"}, "is not a known key"),
        ({"sentry-dsn": DSN}, "differs from SENTRY_DSN only in case"),
        ({"RESENTRY_CEILINGS": [{"traces": 0.1, "match": DSN}]}, "looks like"),
    ],
)
def test_what_the_source_must_not_hold_is_refused_here_too(
    values: dict[str, Any], problem: str
) -> None:
    with pytest.raises(CandidateRefused) as refused:
        tuning(**values)
    assert problem in refused.value.what
    assert KEY not in refused.value.what + refused.value.hint


def test_the_file_lies_on_top_and_says_so() -> None:
    """Key by key; in a role rate by rate. An empty list takes away that of the source."""
    base = source(
        SENTRY_TRACES_SAMPLE_RATE="0.1",
        SENTRY_SAMPLE_RATE="0.9",
        RESENTRY_ROLES={"api": {"SENTRY_SAMPLE_RATE": 0.5, "SENTRY_RELEASE": "2"}},
        RESENTRY_RULES=[{"match": "GET /", "traces": 1.0}],
        RESENTRY_BUDGETS=[{"errors": 5}],
        RESENTRY_CEILINGS=[{"traces": 0.5}],
    )
    file = tuning(
        SENTRY_TRACES_SAMPLE_RATE="0.2",
        RESENTRY_ROLES={
            "api": {"SENTRY_SAMPLE_RATE": 0.25},
            "celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.0},
        },
        RESENTRY_RULES=[],
        RESENTRY_BUDGETS=[{"transactions": 600}],
    )
    both = layered(base, file)

    assert both.settings == {
        "SENTRY_DSN": DSN,
        "SENTRY_TRACES_SAMPLE_RATE": 0.2,
        "SENTRY_SAMPLE_RATE": 0.9,
    }
    assert both.roles == {
        "api": {"SENTRY_SAMPLE_RATE": 0.25, "SENTRY_RELEASE": "2"},
        "celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.0},
    }
    assert both.rules == ()
    assert both.budgets == (Budget(transactions=600.0),)
    assert both.ceilings == base.ceilings
    origins = both.provenance
    assert origins["SENTRY_TRACES_SAMPLE_RATE"] == {
        "source": "tuning",
        "path": "/file/SENTRY_TRACES_SAMPLE_RATE",
    }
    assert origins["SENTRY_SAMPLE_RATE"]["source"] == "vault"
    assert origins["RESENTRY_ROLES"] == {
        "source": "vault",
        "path": "/vault/RESENTRY_ROLES",
        "tuning": "/file/RESENTRY_ROLES",
    }
    assert origins["RESENTRY_RULES"]["source"] == "tuning"
    assert decode_snapshot(encode_snapshot(both)) == both
    assert both.revision not in (base.revision, file.revision)
    assert layered(base, tuning()) == base


def test_a_kept_file_brings_nothing_else() -> None:
    """Whoever could write to the agent's memory would not set a DSN by it."""
    base = source()
    rogue = Snapshot(
        settings={
            "SENTRY_DSN": "https://a@evil.example.org/1",
            "SENTRY_SEND_PII": True,
        },
        roles={"api": {"SENTRY_DSN": "https://a@evil.example.org/1"}},
        rules=(Rule("*", 1.0),),
        provenance={"SENTRY_DSN": {"source": "tuning"}},
    )
    both = layered(base, rogue)
    assert both.settings == base.settings
    assert both.roles == {"api": {}}
    assert (both.rules, both.provenance) == (base.rules, base.provenance)


def test_the_guard_rails_hold_what_the_file_adds_and_nothing_else() -> None:
    rails = GuardRails(caps={"production": 0.3}, boost_cap=0.5)
    base = source()
    assert conflicts(base, tuning(SENTRY_TRACES_SAMPLE_RATE=0.3), rails, NOW) == []
    (problem,) = conflicts(base, tuning(SENTRY_TRACES_SAMPLE_RATE=0.31), rails, NOW)
    assert problem.startswith("SENTRY_TRACES_SAMPLE_RATE must be at most 0.3")
    boost = {"id": "b", "traces": 1.0, "until": "2027-01-17T12:00:00Z"}
    problems = conflicts(base, tuning(RESENTRY_BOOSTS=[boost]), rails, NOW)
    assert [p.split(" must")[0] for p in problems] == [
        "RESENTRY_BOOSTS[0] traces",
        "RESENTRY_BOOSTS[0] until",
    ]
    # A source that the rails refuse by now is no fault of the file.
    bad = source(SENTRY_TRACES_SAMPLE_RATE="0.9")
    assert conflicts(bad, tuning(SENTRY_SAMPLE_RATE=0.5), rails, NOW) == []


def test_too_many_roles_together_are_the_fault_of_the_file() -> None:
    def roles(first: int, last: int) -> dict[str, Any]:
        return {f"r{n}": {"SENTRY_SAMPLE_RATE": 1.0} for n in range(first, last)}

    base = source(RESENTRY_ROLES=roles(0, 20))
    (problem,) = conflicts(
        base, tuning(RESENTRY_ROLES=roles(20, 40)), GuardRails(), NOW
    )
    assert "no process could read it on top of the source" in problem
