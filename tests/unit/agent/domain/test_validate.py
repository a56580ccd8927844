"""From a candidate to a snapshot, or all that is wrong with it at once."""

import itertools
import json
import math
from typing import Any

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import KNOWN, Validated, validate
from agent.domain.value import replace
from agent.errors import CandidateRefused
from resentry.contract import (
    SETTINGS_LIMIT_BYTES,
    Boost,
    Rule,
    Snapshot,
    decode_snapshot,
    encode_snapshot,
    revision_of,
)
from resentry.effective import resolve
from resentry.formats import moment

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
SECRET = "pw-planted-Tr0ub4dor"
NOW = moment("2026-11-24T05:00:00Z")


def accepted(
    values: dict[str, Any],
    environment: str = "production",
    last_good: Snapshot | None = None,
) -> tuple[Snapshot, tuple[str, ...]]:
    return validate(Candidate(values), GuardRails(environment), last_good, NOW)


def problems(
    values: dict[str, Any],
    environment: str = "production",
    last_good: Snapshot | None = None,
) -> tuple[str, ...]:
    with pytest.raises(CandidateRefused) as caught:
        accepted(values, environment, last_good)
    assert Candidate(values).fingerprint == caught.value.fingerprint
    return caught.value.problems


def test_a_good_candidate_becomes_a_typed_snapshot() -> None:
    """Text from Vault comes out as numbers and booleans, with its revision."""
    snapshot, notes = accepted(
        {
            "SENTRY_DSN": DSN,
            "SENTRY_TRACES_SAMPLE_RATE": "0.1",
            "SENTRY_SEND_PII": "False",
            "SENTRY_ENABLE_FOR_CELERY": 1,
        }
    )
    assert snapshot.settings == {
        "SENTRY_DSN": DSN,
        "SENTRY_TRACES_SAMPLE_RATE": 0.1,
        "SENTRY_SEND_PII": False,
        "SENTRY_ENABLE_FOR_CELERY": True,
    }
    assert revision_of(snapshot) == snapshot.revision
    assert (snapshot.sequence, notes) == (0, ())


def test_text_and_numbers_make_one_revision() -> None:
    """`"0.1"` and `0.1` at the source are the same content."""
    revisions = {
        accepted({"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": rate})[0].revision
        for rate in ("0.1", 0.1, "0.10", "1e-1")
    }
    assert len(revisions) == 1


def test_an_empty_source_is_fine() -> None:
    """A source may hold rates alone, or nothing of ours at all."""
    assert accepted({})[0].settings == {}


ROUTE = (
    "RESENTRY_RULES[0] match names a route, which is not known yet when the rate is "
    "decided: write * in place of {...} or <...>, as in GET /users/*"
)
BAD: list[tuple[dict[str, Any], str]] = [
    ({"SENTRY_DSN": f"ftp://{KEY}@host/1"}, "SENTRY_DSN is not a DSN"),
    ({"SENTRY_DSN": KEY}, "SENTRY_DSN is not a DSN"),
    ({"SENTRY_DSN": None}, "SENTRY_DSN must be text"),
    ({"SENTRY_DSN": [DSN]}, "SENTRY_DSN must be text"),
    ({"SENTRY_DSN": ""}, "SENTRY_DSN is required in production"),
    (
        {"SENTRY_DSN": f"http://{KEY}@example.org/1"},
        "SENTRY_DSN must be https in production",
    ),
    ({"SENTRY_SEND_PII": "true"}, "SENTRY_SEND_PII must be false in production"),
    ({"SENTRY_SEND_PII": SECRET}, "SENTRY_SEND_PII must be true or false"),
    ({"SENTRY_SAMPLE_RATE": 7}, "SENTRY_SAMPLE_RATE must be a number"),
    ({"SENTRY_TRACES_SAMPLE_RATE": SECRET}, "SENTRY_TRACES_SAMPLE_RATE must be"),
    ({"SENTRY_PROFILES_SAMPLE_RATE": True}, "SENTRY_PROFILES_SAMPLE_RATE must be"),
    (
        {"SENTRY_PROFILE_SESSION_SAMPLE_RATE": "1.5"},
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE must be a number",
    ),
    ({"SENTRY_ENABLE_LOGS": "maybe"}, "SENTRY_ENABLE_LOGS must be true or false"),
    ({"SENTRY_ENVIRONMENT": f"a/{SECRET}"}, "SENTRY_ENVIRONMENT must be 1 to 64"),
    ({"SENTRY_RELEASE": f"a {SECRET}"}, "SENTRY_RELEASE has a character"),
    ({"SENTRY_DNS": DSN}, "SENTRY_DNS is not a known key (did you mean SENTRY_DSN?)"),
    (
        {"RESENTRY_RULE": SECRET},
        "RESENTRY_RULE is not a known key (did you mean RESENTRY_RULES?)",
    ),
    ({"SENTRY_": SECRET}, "SENTRY_ is not a known key"),
    ({"RESENTRY_ROLES": f"{{{SECRET}"}, "RESENTRY_ROLES is not JSON"),
    ({"RESENTRY_ROLES": "[1]"}, "RESENTRY_ROLES must be a JSON object"),
    ({"RESENTRY_ROLES": {"we b": {}}}, "RESENTRY_ROLES must hold one object per role"),
    (
        {"RESENTRY_ROLES": {"api": SECRET}},
        "RESENTRY_ROLES must hold one object per role",
    ),
    ({"RESENTRY_ROLES": {"api": {"SENTRY_DNS": SECRET}}}, "SENTRY_DNS of role api is"),
    (
        {"RESENTRY_ROLES": {"celery": {"SENTRY_SAMPLE_RATE": SECRET}}},
        "SENTRY_SAMPLE_RATE of role celery must be a number",
    ),
    (
        {"RESENTRY_ROLES": {"celery": {"SENTRY_SEND_PII": "on"}}},
        "SENTRY_SEND_PII of role celery must be false in production",
    ),
    ({"RESENTRY_RULES": f"[{SECRET}"}, "RESENTRY_RULES is not JSON"),
    ({"RESENTRY_RULES": {"match": "x"}}, "RESENTRY_RULES must be a JSON array"),
    ({"RESENTRY_RULES": [SECRET]}, "RESENTRY_RULES[0] must be an object with match"),
    ({"RESENTRY_RULES": [{"match": "x"}]}, "RESENTRY_RULES[0] must be an object"),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": 1, "rate": SECRET}]},
        "RESENTRY_RULES[0] must be an object",
    ),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": 1}, {"match": "y", "traces": 7}]},
        "RESENTRY_RULES[1] traces must be a number",
    ),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": 1, "role": f"a {SECRET}"}]},
        "RESENTRY_RULES[0] role must be 1 to 64 letters",
    ),
    (
        {"RESENTRY_RULES": [{"match": ["x"], "traces": 1}]},
        "RESENTRY_RULES[0] match must be text",
    ),
    (
        {"RESENTRY_RULES": [{"match": "", "traces": 1}]},
        "RESENTRY_RULES[0] match must be text",
    ),
    (
        {"RESENTRY_BOOSTS": [{"id": "b", "traces": 1, "until": SECRET}]},
        "RESENTRY_BOOSTS[0] until must be a time with its zone",
    ),
    (
        {"RESENTRY_BOOSTS": [{"id": "b", "traces": 1, "until": "2026-11-24T06:15:00"}]},
        "RESENTRY_BOOSTS[0] until must be a time with its zone",
    ),
    (
        {"RESENTRY_BOOSTS": [{"traces": 1, "until": "2026-11-24T06:15:00Z"}]},
        "RESENTRY_BOOSTS[0] must be an object with id",
    ),
    (
        {"RESENTRY_BOOSTS": [{"id": "b", "traces": 1, "until": "2026-11-24T06:15Z"}]},
        "RESENTRY_BOOSTS[0] until must be a time with its zone",
    ),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": "0_1"}]},
        "RESENTRY_RULES[0] traces must be a number from 0 to 1",
    ),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": "\uff10"}]},
        "RESENTRY_RULES[0] traces must be a number from 0 to 1",
    ),
    (
        {"RESENTRY_RULES": [{"match": SECRET * 20, "traces": 1}]},
        "RESENTRY_RULES[0] match must be text of 1 to 200 characters",
    ),
    (
        {"RESENTRY_RULES": [{"match": "x", "traces": 1}] * 201},
        "RESENTRY_RULES has 201 entries; 200 are the limit",
    ),
    (
        {
            "RESENTRY_CEILINGS": [
                {"traces": "0.5"},
                {"errors": 0.1, "match": "POST /pay", "role": "api"},
            ],
            "RESENTRY_ERRORS": [
                {"exception": "app.errors.*", "rate": 0.1, "per_minute": 10},
                {"logger": "django.request", "rate": "0.5", "role": "api"},
            ],
            "RESENTRY_BUDGETS": [{"transactions": 600, "errors": 60}],
            "RESENTRY_BOOSTS": [
                {"id": "b", "traces": 1, "until": "2026-11-24T06:15:00Z"}
            ]
            * 51,
        },
        "RESENTRY_BOOSTS has 51 entries; 50 are the limit",
    ),
    *(
        (
            {"RESENTRY_RULES": [{"match": match, "traces": 1}]},
            ROUTE,
        )
        for match in (
            f"GET /users/{{{SECRET}}}",
            f"* /users/<int:{SECRET}>/edit",
            f"/users/{{{SECRET}}}",
        )
    ),
    (
        {
            "RESENTRY_BOOSTS": [
                {
                    "id": "b",
                    "traces": 1,
                    "until": "2026-11-24T06:15:00Z",
                    "match": "GET /users/{id}",
                }
            ]
        },
        "RESENTRY_BOOSTS[0] match names a route",
    ),
    ({"RESENTRY_RULES": "[" * 50_000}, "RESENTRY_RULES is not JSON"),
    ({"SENTRY_SAMPLE_RATE": 10**400}, "SENTRY_SAMPLE_RATE must be a number"),
]


@pytest.mark.parametrize(
    ("bad", "expected"), BAD, ids=[f"{at} {text}" for at, (_, text) in enumerate(BAD)]
)
def test_a_bad_value_is_refused_and_never_quoted(
    bad: dict[str, Any], expected: str
) -> None:
    """Each refusal says what is wrong with which key, and shows no value."""
    found = problems({"SENTRY_DSN": DSN, **bad})
    assert any(expected in problem for problem in found), found
    assert KEY not in str(found)
    assert SECRET not in str(found)


def test_all_problems_are_found_at_once() -> None:
    """An operator mends the whole secret in one go."""
    found = problems(
        {
            "SENTRY_DNS": DSN,
            "SENTRY_SAMPLE_RATE": 7,
            "SENTRY_SEND_PII": "perhaps",
            "RESENTRY_RULES": [{}, {"match": "x", "traces": 7}],
            "RESENTRY_ROLES": {"api": {"SENTRY_SAMPLE_RATE": 7}},
        }
    )
    assert len(found) == 6


def test_a_dsn_that_vanished_is_refused() -> None:
    """Reporting ends by an empty value, on purpose, and never by a lost key."""
    last_good = Snapshot({"SENTRY_DSN": DSN})
    found = problems({}, last_good=last_good)
    assert len(found) == 1
    assert found[0].startswith("SENTRY_DSN is gone from the source")
    assert KEY not in found[0]


def test_a_key_with_the_name_in_short_is_named_with_its_full_name() -> None:
    """Nobody counts keys to find out why no event comes. `ENVIRONMENT` may be meant."""
    _, notes = accepted({"DSN": DSN, "ENVIRONMENT": "x", "SAMPLE_RATE": "1"}, "staging")
    ignored = "the key {} is ignored: if it is meant for Sentry, name it SENTRY_{}"
    assert notes[1:] == tuple(ignored.format(n, n) for n in ("DSN", "SAMPLE_RATE"))
    _, notes = accepted({"DSN": DSN, "SENTRY_DSN": DSN})
    assert notes == ("other keys ignored: 1",)
    (gone,) = problems({"DSN": DSN}, last_good=Snapshot({"SENTRY_DSN": DSN}))
    assert gone.endswith("name it SENTRY_DSN")


def test_a_misspelt_dsn_is_not_called_gone_as_well() -> None:
    """One slip, one problem."""
    (problem,) = problems({"sentry_dsn": DSN}, last_good=Snapshot({"SENTRY_DSN": DSN}))
    assert problem.endswith("name it SENTRY_DSN")


@pytest.mark.parametrize("text", [f'"{DSN}"', f"'{DSN}'", f'{DSN}"'])
def test_a_quoted_text_is_told_about_its_quotes(text: str) -> None:
    """A shell would have removed them, and Vault's command line keeps them."""
    (problem,) = problems({"SENTRY_DSN": text})
    assert problem == "SENTRY_DSN begins or ends with a quotation mark: remove it"


def test_another_key_that_vanished_is_noted() -> None:
    """The outcome says which value counts from now on."""
    last_good = Snapshot({"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": 0.5})
    snapshot, notes = accepted({"SENTRY_DSN": DSN}, last_good=last_good)
    assert snapshot.settings == {"SENTRY_DSN": DSN}
    (note,) = notes
    assert note == (
        "keys are gone from the source: SENTRY_SAMPLE_RATE; a process takes its own "
        "environment variable, else the default"
    )


def test_an_empty_dsn_turns_reporting_off_outside_production() -> None:
    """The last good one had a DSN; the empty value is an operator's decision."""
    last_good = Snapshot({"SENTRY_DSN": DSN})
    assert accepted({"SENTRY_DSN": ""}, "staging", last_good)[0].settings == {
        "SENTRY_DSN": ""
    }


def test_other_keys_are_counted_and_never_published() -> None:
    """What else the secret holds is none of Sentry's business."""
    snapshot, notes = validate(
        Candidate(
            {"SENTRY_DSN": DSN, "DATABASE_URL": SECRET, "sentry": SECRET},
            {"SENTRY_DSN": {"source": "vault"}, "DATABASE_URL": {"source": "vault"}},
        ),
        GuardRails(),
        None,
        NOW,
    )
    assert set(snapshot.settings) == {"SENTRY_DSN"}
    assert set(snapshot.provenance) == {"SENTRY_DSN"}
    assert notes == ("other keys ignored: 2",)
    assert SECRET not in str(snapshot)


def test_a_release_at_the_source_is_taken_with_a_warning() -> None:
    """Two versions of a roll-out would carry the same one."""
    snapshot, notes = accepted({"SENTRY_DSN": DSN, "SENTRY_RELEASE": "lms@1"})
    assert snapshot.settings == {"SENTRY_DSN": DSN, "SENTRY_RELEASE": "lms@1"}
    assert len(notes) == 1
    assert "SENTRY_RELEASE is set at the source" in notes[0]


STRUCTURED: dict[str, Any] = {
    "RESENTRY_ROLES": {"celery": {"SENTRY_TRACES_SAMPLE_RATE": "0.01"}},
    "RESENTRY_RULES": [
        {"match": "GET /health", "traces": 0},
        {"match": "app.tasks.*", "role": "celery", "traces": "1.0"},
    ],
    "RESENTRY_BOOSTS": [
        {
            "id": "b1",
            "traces": 1.0,
            "match": "POST /checkout",
            "role": "api",
            "until": "2026-11-24T06:15:00+01:00",
        }
    ],
}


@pytest.mark.parametrize("encode", [json.dumps, lambda it: it], ids=["text", "JSON"])
def test_roles_rules_and_boosts_are_read_as_text_or_structured(encode: Any) -> None:
    """Vault holds either; both make the same snapshot."""
    snapshot, _ = accepted({key: encode(value) for key, value in STRUCTURED.items()})
    assert snapshot.roles == {"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}}
    assert snapshot.rules == (
        Rule("GET /health", 0.0),
        Rule("app.tasks.*", 1.0, "celery"),
    )
    until = "2026-11-24T06:15:00+01:00"
    assert snapshot.boosts == (Boost("b1", 1.0, until, "POST /checkout", "api"),)
    assert accepted(STRUCTURED)[0].revision == snapshot.revision


@pytest.mark.parametrize(
    "name", ["RESENTRY_ROLES", "RESENTRY_RULES", "RESENTRY_BOOSTS"]
)
def test_an_empty_structure_is_none(name: str) -> None:
    """An operator empties a key without deleting it. What has another type is a slip."""
    kinds: dict[type, tuple[object, ...]] = {
        dict: ({}, "{}"),
        list: ([], "[]"),
        bool: (False, True, 0, 0.0, "false", "0", "null", " "),
    }
    own = dict if name == "RESENTRY_ROLES" else list
    for nothing in ("", None, *kinds.pop(own)):
        snapshot, _ = accepted({name: nothing})
        assert (snapshot.roles, snapshot.rules, snapshot.boosts) == ({}, (), ())
    for wrong in itertools.chain(*kinds.values()):
        (problem,) = problems({name: wrong})
        assert problem.startswith(f"{name} ")


def test_a_negative_zero_makes_no_other_revision() -> None:
    """JSON has one, and it is equal to 0."""
    values = [
        {
            "SENTRY_TRACES_SAMPLE_RATE": zero,
            "RESENTRY_RULES": [{"match": "a", "traces": zero}],
        }
        for zero in (0, 0.0, -0.0, "0")
    ]
    assert len({accepted(each)[0].revision for each in values}) == 1


def test_every_known_key_passes_with_a_good_value() -> None:
    """No key of the guide is forgotten."""
    values = {
        "SENTRY_DSN": DSN,
        "SENTRY_ENVIRONMENT": "production",
        "SENTRY_RELEASE": "lms@1",
        "SENTRY_SAMPLE_RATE": 1,
        "SENTRY_TRACES_SAMPLE_RATE": 0.1,
        "SENTRY_PROFILES_SAMPLE_RATE": 0.1,
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.1,
        "SENTRY_SEND_PII": "no",
        "SENTRY_ENABLE_FOR_CELERY": "yes",
        "SENTRY_ENABLE_LOGS": "on",
        **STRUCTURED,
        "RESENTRY_CEILINGS": [{"traces": 0.1}],
        "RESENTRY_ERRORS": [{"exception": "KeyError", "rate": 0.1}],
        "RESENTRY_BUDGETS": [{"transactions": 600}],
    }
    assert set(KNOWN) == set(values)
    assert len(accepted(values)[0].settings) == 10


def test_the_fingerprint_tells_candidates_apart_without_showing_them() -> None:
    """Equal content has an equal name, whatever its order; the name is a hash."""
    one, two = Candidate({"a": 1, "b": DSN}), Candidate({"b": DSN, "a": 1})
    assert one.fingerprint == two.fingerprint
    assert one.fingerprint != Candidate({"a": 2, "b": DSN}).fingerprint
    assert len(one.fingerprint) == 12


def test_a_key_of_others_may_be_nested_as_deeply_as_it_likes() -> None:
    """It is ignored, and the candidate has a fingerprint nevertheless."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    values = {"SENTRY_DSN": DSN, "theirs": deep}
    assert accepted(values)[0].settings == {"SENTRY_DSN": DSN}
    assert len(Candidate(values).fingerprint) == 12
    assert len(problems(values | {"SENTRY_SAMPLE_RATE": 7})) == 1
    for name in ("SENTRY_DSN", "RESENTRY_RULES", "RESENTRY_ROLES"):
        assert len(problems({name: deep})) == 1


def test_what_the_agent_publishes_the_library_reads() -> None:
    """At every limit at once."""
    boost = {"id": "b" * 64, "traces": 1, "until": "2026-11-24T06:15:00+01:00"}
    snapshot, _ = accepted(
        {
            "RESENTRY_RULES": [{"match": "x" * 200, "traces": "1.0"}] * 200,
            "RESENTRY_BOOSTS": [boost | {"match": "*"}] * 50,
        }
    )
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


@pytest.mark.parametrize(
    ("values", "environment", "lacking"),
    [
        ({}, "production", ""),
        ({}, "Prod", ""),
        (
            {"RESENTRY_ROLES": {"api": {"SENTRY_DSN": DSN}, "web": {}}},
            "production",
            " (roles api have one)",
        ),
        ({"SENTRY_DSN": DSN}, "production", None),
        ({}, "development", None),
    ],
)
def test_a_snapshot_without_a_dsn_is_published_with_a_note(
    values: dict[str, Any], environment: str, lacking: str | None
) -> None:
    """A process may have the DSN in its own environment; the note names what else follows."""
    _, notes = accepted({"SENTRY_TRACES_SAMPLE_RATE": 0.1, **values}, environment)
    named = (
        f"the source has no SENTRY_DSN{lacking}, which production requires: a process "
        "refuses this snapshot unless its own environment variable SENTRY_DSN holds a DSN"
    )
    assert notes == ((named,) if lacking is not None else ())


def test_an_odd_rule_names_what_is_needed_and_what_is_optional() -> None:
    """And the field that is unknown."""
    rule = {"match": "GET /health", "traces": 0.0, "rol": "api"}
    (problem,) = problems({"SENTRY_DSN": DSN, "RESENTRY_RULES": [rule]})
    assert problem == (
        "RESENTRY_RULES[0] must be an object with match, traces and optionally parent, "
        "role; unknown: rol"
    )


DAY = 24 * 3600
BOOST = {"id": "b", "traces": 1, "until": "2026-11-24T06:15:00Z"}
RULE = {"match": "x", "traces": 1}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"SENTRY_RELEASE": 1.1}, "SENTRY_RELEASE must be text: write it in quotes"),
        ({"SENTRY_RELEASE": 20261124}, "SENTRY_RELEASE must be text: write it in"),
        ({"SENTRY_RELEASE": math.nan}, "SENTRY_RELEASE must be text: write it in"),
        ({"SENTRY_RELEASE": math.inf}, "SENTRY_RELEASE must be text: write it in"),
        ({"SENTRY_ENVIRONMENT": 5}, "SENTRY_ENVIRONMENT must be text: write it in"),
        ({"SENTRY_RELEASE": True}, "SENTRY_RELEASE must be text: write it in quotes"),
        (
            {"RESENTRY_ROLES": {"web": {"SENTRY_RELEASE": 1.1}}},
            "SENTRY_RELEASE of role web must be text: write it in quotes",
        ),
        ({"SENTRY_SAMPLE_RATE": math.nan}, "SENTRY_SAMPLE_RATE must be a number"),
        (
            {"RESENTRY_RULES": '[{"match":"x","traces":NaN}]'},
            "RESENTRY_RULES is not JSON",
        ),
        (
            {"RESENTRY_RULES": [RULE | {"match": "\ud83d"}]},
            "match has a character that",
        ),
        ({"RESENTRY_RULES": [RULE | {"match": "a\x1b[2J"}]}, "match has a character"),
        ({"RESENTRY_BOOSTS": [BOOST | {"id": "\ud83d"}]}, "id has a character that"),
        ({"RESENTRY_BOOSTS": [BOOST | {"id": "b\nrow"}]}, "id has a character that"),
        ({"SENTRY_DSN": f"{DSN}\n"}, "SENTRY_DSN begins or ends with a space"),
        ({"SENTRY_DSN": f" {DSN}"}, "SENTRY_DSN begins or ends with a space"),
        ({"sentry_dsn": DSN}, "a key differs from SENTRY_DSN only in case"),
        ({"SENTRY_DSN ": DSN}, "a key differs from SENTRY_DSN only in case"),
        ({"Sentry-Release": "1"}, "a key differs from SENTRY_RELEASE only in case"),
        ({"resentry_rules": "[]"}, "a key differs from RESENTRY_RULES only in case"),
        (
            {"RESENTRY_RULES": '[{"match": "x", "match": "y", "traces": 1}]'},
            "RESENTRY_RULES is not JSON, or has a name twice",
        ),
        (
            {"RESENTRY_ROLES": {str(number): {} for number in range(33)}},
            "RESENTRY_ROLES has 33 roles; 32 are the limit",
        ),
        ({"SENTRY_" + SECRET * 9: "1"}, "a key with an odd name is not a known key"),
        ({"SENTRY_\x1b]0;x": "1"}, "a key with an odd name is not a known key"),
        (
            {"RESENTRY_ROLES": {"web": {f"{SECRET}\n": 1}}},
            "a key with an odd name of role web is not a known key",
        ),
        ({"RESENTRY_ROLES": {"web": []}}, "must hold one object per role"),
    ],
    ids=ascii,
)
def test_a_value_that_is_not_what_its_writer_means_is_refused_by_name(
    values: dict[str, Any], expected: str
) -> None:
    """JSON and TOML read numbers, and people mistype: nothing is guessed or skipped."""
    found = problems({"SENTRY_DSN": DSN, **values})
    assert len(found) == 1
    assert expected in found[0]
    assert KEY not in found[0]
    assert SECRET not in found[0]
    assert found[0].isprintable()


@pytest.mark.parametrize(
    "dsn",
    [
        f"https://{KEY}@sentry..example.org/1",
        f"https://{KEY}@sentry.example.org,/1",
        f"https://{KEY}@{'a' * 70}.example.org/1",
        f"https://{KEY}@-/1",
        f"https://{KEY}@-a.example.org/1",
        f"https://{KEY}@..../1",
        f"https://{KEY}@host%20/1",
        f"https://{KEY}@{'a.' * 130}org/1",
        f"https://{KEY}@999.1.1.1/1",
        f"https://{KEY}@1.2.3/1",
        f"https://{KEY}@0177.0.0.1/1",
        f"https://{KEY}@[fe80/1",
        f"https://{KEY}@[::1%25eth0]/1",
        f"https://{KEY}@host:0/1",
        f"https://{KEY}@host/{'1' * 19}",
        f"https://{KEY}@allowed.example.org@host/1",
        f"https://{'c0ffee' * 22}@host/1",
        f"https://{KEY}@host/{'a' * 1000}/1",
        "https://%63@host/1",
    ],
)
def test_a_dsn_that_cannot_work_is_refused(dsn: str) -> None:
    """By the function that reads it in each process, too."""
    assert len(problems({"SENTRY_DSN": dsn})) == 1
    found = resolve(Snapshot({"SENTRY_DSN": dsn}), "api", {})
    assert "SENTRY_DSN" in found.problems
    assert KEY not in found.reason()


@pytest.mark.parametrize(
    "host",
    [
        "o1.ingest.us.sentry.io",
        "sentry.example.org.",
        "Sentry.Example.ORG:443",
        "sentry_relay:3000",
        "xn--bcher-kva.example",
        "10.0.0.1",
        "0x",
    ],
)
def test_a_dsn_that_can_work_is_taken(host: str) -> None:
    """Names in every form, and addresses that need no quotes in a shell."""
    dsn = f"https://{KEY}@{host}/prefix/1"
    assert accepted({"SENTRY_DSN": dsn})[0].settings["SENTRY_DSN"] == dsn


def test_many_problems_are_counted() -> None:
    """An error stays readable, whatever a secret holds."""
    found = problems({f"SENTRY_KEY_{number}": "" for number in range(1000)})
    assert len(found) == 21
    assert found[-1] == "and 980 more problems"


def test_a_snapshot_says_by_which_environment_it_was_judged() -> None:
    """That is the agent's own. It is no part of the revision."""
    staging, production = (accepted({}, name)[0] for name in ("staging", "production"))
    assert (staging.judged_by, production.judged_by) == ("staging", "production")
    assert staging.revision == production.revision
    assert not staging.is_same(production)


def with_metadata(size: int) -> Validated:
    origin = {
        "source": "vault",
        "path": "secret/data/lms",
        "version": 7,
        "custom_metadata": {"owner": "x" * size},
    }
    keys = {"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": 1}
    candidate = Candidate(keys, dict.fromkeys(keys, origin))
    return validate(candidate, GuardRails(), None, NOW)


def test_custom_metadata_counts_once() -> None:
    """It stands with the first key of its secret."""
    snapshot, notes = with_metadata(1000)
    assert encode_snapshot(snapshot).count(b"x" * 1000) == 1
    assert snapshot.provenance["SENTRY_DSN"]["custom_metadata"]
    assert snapshot.provenance["SENTRY_SAMPLE_RATE"] == {
        "source": "vault",
        "path": "secret/data/lms",
        "version": 7,
    }
    assert notes == ()


def test_large_custom_metadata_is_left_out() -> None:
    """With a note that says why."""
    snapshot, notes = with_metadata(5000)
    assert "custom_metadata" not in snapshot.provenance["SENTRY_DSN"]
    (note,) = notes
    assert note == (
        "the custom_metadata of secret/data/lms is left out: it must be texts of together "
        "at most 4096 bytes"
    )


@pytest.mark.parametrize(
    "odd",
    [
        {"version": math.nan},
        {"version": "\ud800"},
        {"custom_metadata": {"owner": "\ud800"}},
        {"custom_metadata": {"owner": math.inf}},
        {"path": "secret/\ud800"},
        {"source": ["vault"]},
    ],
    ids=ascii,
)
def test_an_odd_provenance_spoils_no_snapshot(odd: dict[str, Any]) -> None:
    """What is no JSON for every reader is left out; the values are published."""
    provenance = {"SENTRY_DSN": {"source": "vault", "path": "secret/x", **odd}}
    candidate = Candidate({"SENTRY_DSN": DSN}, provenance)
    snapshot, _ = validate(candidate, GuardRails(), None, NOW)
    body = encode_snapshot(snapshot)
    assert json.loads(body, parse_constant=pytest.fail)["settings"] == {
        "SENTRY_DSN": DSN
    }


def test_the_largest_candidate_has_room_in_a_snapshot() -> None:
    """At every limit at once, and with the boosts of operators: no reader is shut out."""
    wide = "\U0001f600"
    assert wide.isprintable()
    values = {
        "SENTRY_DSN": f"https://{KEY}@host/{'a' * 900}/1",
        "SENTRY_ENVIRONMENT": "production",
        "SENTRY_RELEASE": "r" * 200,
        "SENTRY_SAMPLE_RATE": 0.1234567890123456,
        "SENTRY_TRACES_SAMPLE_RATE": 0.1234567890123456,
        "SENTRY_PROFILES_SAMPLE_RATE": 0.1234567890123456,
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.1234567890123456,
        "SENTRY_SEND_PII": False,
        "SENTRY_ENABLE_FOR_CELERY": False,
        "SENTRY_ENABLE_LOGS": False,
    }
    rule = {"match": wide * 200, "traces": 0.1234567890123456, "role": "r" * 64}
    boost = rule | {"id": wide * 64, "until": BOOST["until"]}
    candidate = values | {
        "RESENTRY_ROLES": {f"{n:064}": values for n in range(32)},
        "RESENTRY_RULES": [rule] * 200,
        "RESENTRY_BOOSTS": [boost] * 50,
    }
    origin = {"custom_metadata": {"x": "x" * 4000}, "version": 10**15}
    provenance = {
        key: origin | {"source": "vault", "path": f"{key}{'p' * 2000}"}
        for key in candidate
    }
    snapshot, _ = validate(Candidate(candidate, provenance), GuardRails(), None, NOW)
    published = replace(snapshot, boosts=snapshot.boosts * 2)
    assert len(encode_snapshot(published)) < SETTINGS_LIMIT_BYTES / 2


def test_no_candidate_is_larger_than_its_readers_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the limits of its parts allow it nevertheless, it is refused, not published."""
    monkeypatch.setattr("resentry.snapshot.SETTINGS_LIMIT_BYTES", 200)
    (problem,) = problems({"SENTRY_DSN": DSN})
    assert problem == (
        "no process could read these values as a snapshot: settings.json is larger than "
        "1 MiB, which is the limit"
    )


TOKEN = "hvs." + "CAESIKEXAMPLEEXAMPLEEXAMPLE"
WHOLE_DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"


@pytest.mark.parametrize(
    "values",
    [
        {"SENTRY_RELEASE": TOKEN},
        {"SENTRY_ENVIRONMENT": TOKEN},
        {"RESENTRY_ROLES": {"api": {"SENTRY_RELEASE": TOKEN}}},
        {"RESENTRY_RULES": [{"match": WHOLE_DSN, "traces": 0.1}]},
        {
            "RESENTRY_BOOSTS": [
                {"id": WHOLE_DSN, "traces": 0.1, "until": "2027-01-01T00:00:00Z"}
            ]
        },
    ],
)
def test_a_secret_in_a_text_that_everybody_sees_is_refused(
    values: dict[str, Any],
) -> None:
    """The kind is named, never the secret: each event would carry a release."""
    found = " ".join(problems(values))
    assert "looks like a" in found
    assert TOKEN not in found
    assert "c0ffee" not in found
