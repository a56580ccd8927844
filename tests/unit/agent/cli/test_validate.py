"""`validate`: what an agent would publish, and what would change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from agent.cli import group

if TYPE_CHECKING:
    from pathlib import Path

DSN = "https://c0ffee0123456789@sentry.example.com/1"
GOOD = {"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": 0.1}
Validate = Callable[..., Any]


@pytest.fixture
def validate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Write files, validate them, and return the code and the JSON object."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, files: dict[str, Any], code: int = 0) -> Any:
        for name, values in files.items():
            text = values if isinstance(values, str) else json.dumps(values)
            (tmp_path / name).write_text(text)
        ran = CliRunner().invoke(group, ["validate", *words, "--json"])
        assert ran.exit_code == code, ran.output
        assert DSN not in ran.output
        return json.loads(ran.stdout)

    return run


def test_a_good_file_is_accepted_in_each_form(validate: Validate) -> None:
    """JSON and dotenv, without Vault and without a volume."""
    files = {
        "a.json": GOOD,
        "b.env": f"SENTRY_DSN={DSN}\nSENTRY_TRACES_SAMPLE_RATE=0.1\n",
    }
    found = validate(*files, files=files)
    one, other = found["result"]["files"]
    assert (one["accepted"], other["accepted"]) == (True, True)
    assert one["revision"] == other["revision"]
    assert one["changes"] is None
    assert found["result"]["environment"] == "production"


@pytest.mark.parametrize(
    ("values", "options", "problem"),
    [
        (
            {**GOOD, "SENTRY_TRACES_SAMPLE_RATE": 7},
            [],
            "SENTRY_TRACES_SAMPLE_RATE must",
        ),
        (
            {**GOOD, "SENTRY_TRACE_RATE": 0.1},
            [],
            "SENTRY_TRACE_RATE is not a known key",
        ),
        ({**GOOD, "RESENTRY_CEILINGS": [{}]}, [], "RESENTRY_CEILINGS[0]"),
        ({**GOOD, "SENTRY_SEND_PII": True}, [], "SENTRY_SEND_PII must be false"),
        (GOOD, ["--rate-caps", "production=0.05"], "must be at most 0.05"),
        (GOOD, ["--allowed-dsns", "production=other.example.com"], "is not an allowed"),
        (
            {**GOOD, "SENTRY_ENVIRONMENT": "staging"},
            [],
            "is not the agent's environment",
        ),
    ],
)
def test_a_file_is_refused_by_the_agents_own_rules(
    validate: Validate, values: Any, options: list[str], problem: str
) -> None:
    """All files are judged, and the code is that of the first problem."""
    files = {"bad.json": values, "good.json": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}}
    found = validate(*files, *options, files=files, code=65)
    bad, good = found["result"]["files"]
    assert not bad["accepted"]
    assert problem in bad["problems"][0]
    assert good["accepted"]
    assert found["error"]["code"] == "CandidateRefused"


def test_a_file_that_cannot_be_read_is_an_error(validate: Validate) -> None:
    """It is not there, or it is not JSON."""
    assert validate("none.json", files={}, code=66)["error"]["code"] == "SourceMissing"
    found = validate("bad.json", files={"bad.json": "{"}, code=69)
    assert "is not JSON" in found["result"]["files"][0]["problems"][0]


def test_what_would_change_is_named_per_role(validate: Validate) -> None:
    """Values by role, and entries of lists one by one."""
    first, second = {"match": "a", "traces": 0.1}, {"match": "b", "traces": 0.2}
    third = {"match": "c", "traces": 0.3, "role": "api"}
    old = {
        **GOOD,
        "RESENTRY_ROLES": {
            "celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.5},
            "api": {"SENTRY_SAMPLE_RATE": 0.5},
        },
        "RESENTRY_RULES": [first, second],
    }
    new = {
        "SENTRY_DSN": DSN.replace("/1", "/2"),
        "SENTRY_TRACES_SAMPLE_RATE": 0.2,
        "RESENTRY_ROLES": {"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.5}},
        "RESENTRY_RULES": [second, first, third],
        "RESENTRY_CEILINGS": [{"errors": 0.5}],
    }
    files = {"new.json": new, "old.json": old}
    found = validate("new.json", "--against", "old.json", files=files)
    changes = found["result"]["files"][0]["changes"]
    short = [(c["key"], c["role"], c["before"], c["after"]) for c in changes]
    shown = "sentry.example.com/{} (key …6789)"
    order = "the order of its entries"
    assert short == [
        ("SENTRY_DSN", "", shown.format(1), shown.format(2)),
        ("SENTRY_TRACES_SAMPLE_RATE", "", 0.1, 0.2),
        ("SENTRY_SAMPLE_RATE", "api", 0.5, None),
        ("SENTRY_TRACES_SAMPLE_RATE", "celery", 0.5, 0.5),
        ("RESENTRY_RULES", "api", None, third),
        ("RESENTRY_RULES", "", order, order),
        ("RESENTRY_CEILINGS", "", None, {"errors": 0.5}),
    ]
    same = validate("new.json", "--against", "new.json", files=files)
    assert same["result"]["files"][0]["changes"] == []
    ran = CliRunner().invoke(group, ["validate", "new.json", "--against", "old.json"])
    assert "  role celery: SENTRY_TRACES_SAMPLE_RATE: stays 0.5" in ran.stdout
    assert "  every other role: SENTRY_TRACES_SAMPLE_RATE: 0.1 -> 0.2" in ran.stdout
    assert "  role api: SENTRY_SAMPLE_RATE: 0.5 -> nothing" in ran.stdout
    assert "  every role: SENTRY_DSN: sentry.example.com/1" in ran.stdout
    assert "  every role: RESENTRY_RULES: another order" in ran.stdout


@pytest.mark.parametrize("tuning", [(), ("--tuning",)])
def test_what_has_ended_is_noted(validate: Validate, tuning: tuple[str, ...]) -> None:
    """A wrong year makes a ceiling that never begins. What still runs is not noted."""
    past, later = "2020-01-31T12:00:00Z", "2120-01-31T12:00:00Z"
    values = {
        "RESENTRY_BOOSTS": [{"id": "b1", "traces": 1, "until": past}],
        "RESENTRY_CEILINGS": [
            {"traces": 0.5},
            {"traces": 0.1, "until": later},
            {"traces": 0.01, "until": past},
        ],
    }
    files = {"old.json": GOOD, "new.json": values if tuning else {**GOOD, **values}}
    words = ("new.json", "--against", "old.json", *tuning)
    (file,) = validate(*words, files=files)["result"]["files"]
    assert file["accepted"]
    assert file["notes"] == [
        f"RESENTRY_BOOSTS[0] has no effect: it has ended at {past}",
        f"RESENTRY_CEILINGS[2] has no effect: it has ended at {past}",
    ]


def test_a_dsn_must_not_vanish(validate: Validate) -> None:
    """The agent would refuse this, too."""
    files = {"new.json": {"SENTRY_SAMPLE_RATE": 1}, "old.json": GOOD}
    found = validate("new.json", "--against", "old.json", files=files, code=65)
    assert "SENTRY_DSN is gone" in found["result"]["files"][0]["problems"][0]


def test_what_cannot_be_compared_is_no_yes(validate: Validate) -> None:
    """An old file that is refused itself."""
    files = {"new.json": GOOD, "old.json": {**GOOD, "SENTRY_SAMPLE_RATE": 7}}
    found = validate("new.json", "--against", "old.json", files=files, code=3)
    assert found["error"]["code"] == "NotExamined"
    assert found["result"]["files"][0]["accepted"]
    assert found["result"]["files"][0]["changes"] is None


def test_a_tuning_file_is_judged_on_top_of_the_source(validate: Validate) -> None:
    """It is refused by the key that it must not hold, and by the guard rails."""
    rules = json.dumps([{"match": "GET /health", "traces": 0}])
    files = {
        "source.json": GOOD,
        "tuning.env": f"SENTRY_TRACES_SAMPLE_RATE=0.3\nRESENTRY_RULES={rules}\n",
    }
    words = ("tuning.env", "--tuning", "--against", "source.json")
    (file,) = validate(*words, files=files)["result"]["files"]
    assert file["accepted"]
    assert {each["key"]: each["after"] for each in file["changes"]} == {
        "SENTRY_TRACES_SAMPLE_RATE": 0.3,
        "RESENTRY_RULES": {"match": "GET /health", "traces": 0.0},
    }
    rails = ("--rate-caps", "production=0.2")
    (file,) = validate(*words, *rails, files=files, code=65)["result"]["files"]
    assert "must be at most 0.2 in production" in file["problems"][0]
    (file,) = validate("source.json", "--tuning", files=files, code=65)["result"][
        "files"
    ]
    assert file["problems"] == ["SENTRY_DSN must not stand in a tuning file"]
    (file,) = validate("no.json", "--tuning", files={}, code=66)["result"]["files"]
    assert not file["accepted"]
