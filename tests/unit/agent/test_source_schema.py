"""The JSON Schema of a source refuses nothing that the agent takes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.tuning_file import RATES, TUNABLE
from agent.domain.validate import validate
from agent.errors import CandidateRefused
from docs.source_schema import schema, tuning_schema
from resentry.contract import SETTING, TUNING, Budget
from resentry.tuning import NUMBERS
from resentry.values import KEYS, STRUCTURED

VALIDATOR = Draft202012Validator(json.loads(schema()))
VALUES: dict[str, list[Any]] = {
    "number": [0, 1, 0.5, "0.5", " 1 ", ".5", "1e-2", 60, -1, True, "x", None, [], 1e9],
    "text": [
        "a",
        "GET /pay*",
        "api",
        "app.errors.Declined",
        "",
        " ",
        "ü",
        3,
        None,
        "*",
    ],
    "until": ["2026-11-24T06:15:00Z", "2026-11-24T06:15:00.5+01:00", "tomorrow", 5],
    "parent": ["keep", "KEEP", None, True],
    "boolean": [True, False, "true", "Off", " 1 ", 1, 0, "maybe", 2, None],
}


def _is_taken(values: dict[str, Any]) -> bool:
    rails = GuardRails(environment="test")
    try:
        validate(Candidate(values), rails, None, 0.0)
    except CandidateRefused:
        return False
    return True


def _drawn(draw: random.Random, name: str) -> Any:
    if name in NUMBERS:
        return draw.choice(VALUES["number"])
    return draw.choice(VALUES.get(name, VALUES["text"]))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("name", TUNING)
def test_what_the_agent_takes_the_schema_takes(name: str, seed: int) -> None:
    """Entries of lists, good and bad. What the schema refuses, the agent refuses."""
    draw, kind = random.Random(seed), TUNING[name][0]
    taken = 0
    for _ in range(100):
        fields = [f for f in kind._fields if draw.random() < 0.6]
        item = {field: _drawn(draw, field) for field in fields}
        if draw.random() < 0.1:
            item["other"] = 1
        values = {SETTING.format(name.upper()): [item]}
        if _is_taken(values):
            taken += 1
            assert VALIDATOR.is_valid(values), (values, "the schema refuses it")
    assert taken or name in ("boosts", "rules"), "the test compares something"


@pytest.mark.parametrize("name", KEYS)
def test_each_value_that_the_agent_takes_the_schema_takes(name: str) -> None:
    """Single values, also those of a role."""
    for kind in VALUES.values():
        for value in kind:
            for values in ({name: value}, {"RESENTRY_ROLES": {"api": {name: value}}}):
                if _is_taken(values):
                    assert VALIDATOR.is_valid(values), values


def test_each_key_is_described() -> None:
    """And nothing else that begins like one."""
    assert set(VALIDATOR.schema["properties"]) == {*KEYS, *STRUCTURED}
    assert VALIDATOR.is_valid({"DATABASE_URL": "x"})


@pytest.mark.parametrize(
    "values",
    [
        {"SENTRY_TRACE_RATE": 0.1},
        {"SENTRY_TRACES_SAMPLE_RATE": 7},
        {"SENTRY_TRACES_SAMPLE_RATE": "often"},
        {"SENTRY_SEND_PII": "maybe"},
        {"RESENTRY_RULES": [{"match": "a"}]},
        {"RESENTRY_RULES": [{"match": "a", "traces": 0.1, "rate": 1}]},
        {"RESENTRY_CEILINGS": [{"role": "api"}]},
        {"RESENTRY_ERRORS": [{"exception": "a b", "rate": 1}]},
        {"RESENTRY_BUDGETS": [{"transactions": 0}]},
        {"RESENTRY_BOOSTS": [{"id": "b", "traces": 1, "until": "tomorrow"}]},
        {"RESENTRY_ROLES": {"api": {"SENTRY_RATE": 1}}},
    ],
)
def test_a_usual_slip_is_refused_by_both(values: dict[str, Any]) -> None:
    """So an editor or a pipeline shows it."""
    assert not _is_taken(values)
    assert not VALIDATOR.is_valid(values)


def test_a_list_of_every_field_is_taken() -> None:
    """A full entry of each kind."""
    good = {
        "match": "GET /pay*",
        "traces": 0.5,
        "errors": 0.5,
        "rate": 0.5,
        "per_minute": 5,
        "transactions": 60,
        "id": "b1",
        "until": "1970-01-01T01:00:00Z",
        "role": "api",
        "parent": "keep",
        "exception": "app.*",
        "logger": "app",
    }
    for name, (kind, _) in TUNING.items():
        fields = [f for f in kind._fields if name == "boosts" or f != "id"]
        item = {field: good[field] for field in fields}
        if kind is Budget:
            item["errors"] = 60
        values = {SETTING.format(name.upper()): [item]}
        assert _is_taken(values), name
        assert VALIDATOR.is_valid(values), name
        as_text = {key: json.dumps(value) for key, value in values.items()}
        assert _is_taken(as_text)
        assert VALIDATOR.is_valid(as_text)


def test_the_schema_of_a_tuning_file_has_what_may_stand_there() -> None:
    """And nothing else, in roles either."""
    document = json.loads(tuning_schema())
    validator = Draft202012Validator(document)
    assert document["properties"].keys() == {*TUNABLE}
    assert validator.is_valid(
        {
            "SENTRY_TRACES_SAMPLE_RATE": "0.1",
            "RESENTRY_ROLES": {"api": {"SENTRY_SAMPLE_RATE": 1}},
            "RESENTRY_CEILINGS": [{"traces": 0.1}],
        }
    )
    for key in {*KEYS, *STRUCTURED} - {*TUNABLE}:
        assert not validator.is_valid({key: "x"}), key
    for key in KEYS.keys() - {*RATES}:
        roles = {"RESENTRY_ROLES": {"api": {key: "x"}}}
        assert not validator.is_valid(roles), key
