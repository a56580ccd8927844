"""docs/contract.md, "Sampling" and the forms of values: agent and library agree."""

from typing import Any

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import CandidateRefused
from resentry import formats
from resentry.contract import (
    BOOSTS_LIMIT,
    MATCH_LIMIT,
    RULES_LIMIT,
    TRANSACTION_LIMIT,
    Boost,
    ContractError,
    Rule,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
)
from resentry.effective import resolve

UNTIL = "2026-11-24T06:15:00Z"
NOW = formats.moment(UNTIL) - 3600


def test_the_limits_are_the_documented_ones() -> None:
    """Rules, boosts, and the characters of a pattern and of a name."""
    limits = (RULES_LIMIT, BOOSTS_LIMIT, MATCH_LIMIT, TRANSACTION_LIMIT)
    assert limits == (200, 100, 200, 500)


@pytest.mark.parametrize(
    "field",
    [
        {"traces": 7},
        {"traces": -0.1},
        {"traces": "lots"},
        {"traces": "0_1"},
        {"traces": "\uff10"},
        {"traces": True},
        {"traces": None},
        {"traces": float("nan")},
        {"match": ""},
        {"match": 7},
        {"match": "x" * 201},
        {"role": "a b"},
        {"role": 7},
        {"until": "2026-11-24T06:15:00"},
        {"until": "2026-11-24T06:15Z"},
        {"until": "2026-11-24 06:15:00Z"},
        {"until": "2026-W48-2T06:15:00Z"},
        {"until": 1795500900},
        {"id": ""},
        {"id": "x" * 65},
    ],
    ids=ascii,
)
def test_what_has_no_form_of_the_contract_is_refused_by_both(
    field: dict[str, Any],
) -> None:
    """A boost with it is published by no agent, and read by no library."""
    boost = {"id": "b1", "traces": 1.0, "until": UNTIL, "match": "x", **field}
    with pytest.raises(CandidateRefused):
        validate(Candidate({"RESENTRY_BOOSTS": [boost]}), GuardRails(), None, NOW)
    snapshot = Snapshot({}, boosts=(Boost(**boost),), revision="a" * 12)
    with pytest.raises(ContractError):
        decode_snapshot(encode_snapshot(snapshot))


@pytest.mark.parametrize("until", [UNTIL, "2026-11-24T07:15:00.5+01:00"])
def test_what_has_the_form_is_taken_by_both(until: str) -> None:
    """The agent publishes it, and the library reads the same."""
    boost = {"id": "b1", "traces": 0.5, "until": until, "match": "GET /users/*"}
    found, _ = validate(
        Candidate(
            {
                "RESENTRY_BOOSTS": [boost],
                "RESENTRY_RULES": [{"match": "*", "traces": 0}],
            }
        ),
        GuardRails(),
        None,
        NOW,
    )
    assert found.rules == (Rule("*", 0.0),)
    assert decode_snapshot(encode_snapshot(found)) == found


@pytest.mark.parametrize(
    "key",
    [
        "SENTRY_TRACES_SAMPLE_RATE",
        "SENTRY_PROFILES_SAMPLE_RATE",
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
    ],
)
def test_an_unset_rate_is_off(key: str) -> None:
    """It is no rate of 0: the SDK is given none."""
    assert resolve(Snapshot({}), "api", {}).values[key] is None
    assert resolve(Snapshot({key: 0.0}), "api", {}).values[key] == 0.0
