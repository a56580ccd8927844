"""The keys: what is read as what, what is refused, and where a value comes from."""

import math
from dataclasses import replace
from typing import Any

import pytest

from resentry.contract import Snapshot
from resentry.effective import resolve
from resentry.values import KEYS, judge, show_dsn, split_dsn

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
PLAIN = DSN.replace("https", "http")
RATES = [
    "SENTRY_SAMPLE_RATE",
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
]
BOOLEANS = ["SENTRY_SEND_PII", "SENTRY_ENABLE_FOR_CELERY", "SENTRY_ENABLE_LOGS"]


@pytest.mark.parametrize("key", BOOLEANS)
@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        *((text, True) for text in ("true", "TRUE", "True", "1", "yes", "On", " on ")),
        *((text, False) for text in ("false", "FALSE", "0", "no", "NO", "Off")),
        (True, True),
        (False, False),
        (1, True),
        (0, False),
    ],
    ids=repr,
)
def test_a_boolean_is_read_in_any_case(key: str, raw: object, expected: object) -> None:
    """The four pairs of words, in any case, and JSON's own booleans are read."""
    assert expected is KEYS[key].parse(raw)


@pytest.mark.parametrize("key", BOOLEANS)
@pytest.mark.parametrize(
    "raw", ["", "maybe", "2", "tru", 2, 1.5, None, [], {}], ids=repr
)
def test_what_is_no_boolean_is_refused(key: str, raw: object) -> None:
    """Nothing is true by accident."""
    with pytest.raises(ValueError, match="must be true or false"):
        KEYS[key].parse(raw)


@pytest.mark.parametrize("key", RATES)
@pytest.mark.parametrize(
    ("raw", "expected"),
    [("0", 0.0), ("1.0", 1.0), (0.25, 0.25), (1, 1.0), ("1e-3", 1e-3)],
)
def test_a_rate_is_a_number_from_zero_to_one(
    key: str, raw: object, expected: float
) -> None:
    """A rate is read from text and from a number."""
    assert expected == KEYS[key].parse(raw)


@pytest.mark.parametrize("key", RATES)
@pytest.mark.parametrize(
    "raw",
    [
        "NaN",
        math.nan,
        "inf",
        math.inf,
        -0.1,
        "-0.1",
        7,
        "7",
        1.0000001,
        "lots",
        "0_1",
        "0.1_0",
        "\uff10.\uff11",
        "\u0661",
        "0x1",
        "1e",
        ".",
        "1 0",
        "infinity",
        "-0",
        b"1",
        "",
        True,
        False,
        None,
        [0.1],
        pytest.param(10**400, id="10**400"),
    ],
    ids=repr,
)
def test_every_other_rate_is_refused(key: str, raw: object) -> None:
    """What is no number, no rate, or a boolean is refused with one sentence."""
    with pytest.raises(ValueError, match="must be a number from 0 to 1"):
        KEYS[key].parse(raw)


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        DSN,
        PLAIN,
        "https://key:old-secret@sentry.example.org/42",
        "https://key@sentry.example.org:8443/prefix/42",
        "http://key@127.0.0.1:3000/1",
    ],
)
def test_a_dsn_is_taken_as_it_is(dsn: str) -> None:
    """All forms that the SDK knows are read, and the empty one that means off."""
    assert dsn == KEYS["SENTRY_DSN"].parse(dsn)


@pytest.mark.parametrize(
    "bad",
    [
        "c0ffee00c0ffee00",
        "ftp://c0ffee00@host/1",
        "https://c0ffee00host/1",
        "https://c0ffee00@host/",
        "https://c0ffee00@host/c0ffee00",
        "https://c0ffee00@host/\u0661",
        "https://c0ffee00@host/\u00b2",
        "https://c0ffee00@host/4_2",
        "https://c0ffee00@/1",
        "https://c0ffee00@host:99999/1",
        "https://c0ffee00@host:c0ffee00/1",
        "https://c0ffee00@[c0ffee00/1",
        "https://c0ffee00@host/1?c0ffee00=1",
        "https://c0ffee00@host/1#c0ffee00",
        "https://c0ffee00 @host/1",
        "https://c0ffee00@host/1\n",
        "https://c0ffee00@host/'1'",
        ["https://c0ffee00@host/1"],
        {"c0ffee00": 1},
    ],
)
def test_a_bad_dsn_is_refused_without_a_quote(bad: object) -> None:
    """No part of the text, nor the exception behind it, is in the error."""
    with pytest.raises(ValueError, match=r"DSN|text|quot|space") as caught:
        KEYS["SENTRY_DSN"].parse(bad)
    assert "c0ffee" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("SENTRY_ENVIRONMENT", "production"),
        ("SENTRY_ENVIRONMENT", "eu-west.staging_2"),
        ("SENTRY_RELEASE", "lms@1.4.2+build.7"),
        ("SENTRY_RELEASE", ""),
    ],
)
def test_a_name_is_taken_as_it_is(key: str, good: str) -> None:
    """Environment and release take what Sentry takes."""
    assert good == KEYS[key].parse(good)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        ("SENTRY_ENVIRONMENT", ""),
        ("SENTRY_ENVIRONMENT", "None"),
        ("SENTRY_ENVIRONMENT", "a/b"),
        ("SENTRY_ENVIRONMENT", "a b"),
        ("SENTRY_ENVIRONMENT", "a" * 65),
        ("SENTRY_ENVIRONMENT", True),
        ("SENTRY_RELEASE", "a/b"),
        ("SENTRY_RELEASE", ".."),
        ("SENTRY_RELEASE", "a" * 201),
        ("SENTRY_RELEASE", "$(reboot)"),
        ("SENTRY_RELEASE", "a\nB=1"),
        ("SENTRY_RELEASE", "a'b"),
    ],
)
def test_a_name_that_sentry_or_a_shell_would_trip_over_is_refused(
    key: str, bad: object
) -> None:
    """Nothing that Sentry drops, and nothing that needs quoting, gets in."""
    with pytest.raises(ValueError, match=r"must be|quoting"):
        KEYS[key].parse(bad)


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("", "none"),
        ("c0ffee00", "not a DSN"),
        (DSN, "sentry.example.org/42 (key …ee00)"),
        (
            "https://short@host:8443/9",
            "host:8443/9 (key …, fingerprint c415b69701a1)",
        ),
        ("https://c0ffee00c0ffee00:hidden@host/9", "host/9 (key …ee00)"),
    ],
)
def test_a_dsn_is_shown_as_host_project_and_the_last_four(
    dsn: str, expected: str
) -> None:
    """Nothing of a short key, but a fingerprint; of an old-style secret never anything."""
    assert expected == show_dsn(dsn)


def test_a_dsn_in_its_parts_is_shown_the_same_way() -> None:
    """Even formatted by mistake, a split DSN hides its key."""
    assert show_dsn(DSN) == f"{split_dsn(DSN)}"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {}),
        ({"SENTRY_DSN": DSN}, {}),
        ({"SENTRY_DSN": ""}, {"SENTRY_DSN": "is required in production (here)"}),
        ({"SENTRY_DSN": PLAIN}, {"SENTRY_DSN": "must be https in production (here)"}),
        ({"SENTRY_DSN": "http://k@localhost:3000/1"}, {}),
        ({"SENTRY_DSN": "http://k@127.8.0.1/1"}, {}),
        ({"SENTRY_DSN": "http://k@[::1]/1"}, {}),
        (
            {"SENTRY_DSN": "http://k@127.0.0.1.evil.example/1"},
            {"SENTRY_DSN": "must be https in production (here)"},
        ),
        (
            {"SENTRY_DSN": "http://k@localhost.evil.example/1"},
            {"SENTRY_DSN": "must be https in production (here)"},
        ),
        (
            {"SENTRY_SEND_PII": True},
            {"SENTRY_SEND_PII": "must be false in production (here)"},
        ),
        ({"SENTRY_SEND_PII": False}, {}),
    ],
)
def test_production_wants_a_dsn_https_and_no_pii(
    values: dict[str, Any], expected: dict[str, str]
) -> None:
    """Production is judged, nothing else is; a Relay beside the app may be http."""
    assert expected == judge(values, [("staging", "elsewhere"), ("PROD", "here")])
    assert judge(values, [("staging", "here")]) == {}


SNAPSHOT = Snapshot(
    settings={"SENTRY_DSN": DSN, "SENTRY_TRACES_SAMPLE_RATE": 0.1},
    roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
)
RATE = "SENTRY_TRACES_SAMPLE_RATE"


@pytest.mark.parametrize(
    ("snapshot", "role", "environ", "expected"),
    [
        (SNAPSHOT, "celery", {RATE: "0.5"}, (0.01, "role")),
        (SNAPSHOT, "api", {RATE: "0.5"}, (0.1, "snapshot")),
        (Snapshot({}), "api", {RATE: "0.5"}, (0.5, "environment")),
        (None, "api", {RATE: "0.5"}, (0.5, "environment")),
        (None, "api", {RATE: ""}, (None, "default")),
        (None, "api", {}, (None, "default")),
    ],
)
def test_a_value_comes_from_role_then_snapshot_then_environment_then_default(
    snapshot: Snapshot | None,
    role: str,
    environ: dict[str, str],
    expected: tuple[float | None, str],
) -> None:
    """The first that has the key decides, and its name stands beside the value."""
    found = resolve(snapshot, role, environ)
    assert expected == (found.values[RATE], found.origins[RATE])


@pytest.mark.parametrize(
    ("key", "environ", "expected"),
    [
        ("SENTRY_ENVIRONMENT", {}, ("production", "default")),
        ("SENTRY_ENVIRONMENT", {"ENVIRONMENT": "staging"}, ("staging", "environment")),
        (
            "SENTRY_ENVIRONMENT",
            {"ENVIRONMENT": "staging", "SENTRY_ENVIRONMENT": "qa"},
            ("qa", "environment"),
        ),
        (
            "SENTRY_ENVIRONMENT",
            {"ENVIRONMENT": "staging", "SENTRY_ENVIRONMENT": ""},
            ("staging", "environment"),
        ),
        ("SENTRY_RELEASE", {"VERSION": "1.2"}, ("1.2", "environment")),
        (
            "SENTRY_RELEASE",
            {"VERSION": "1.2", "SENTRY_RELEASE": "lms@1"},
            ("lms@1", "environment"),
        ),
        ("SENTRY_DSN", {"SENTRY_DSN": ""}, ("", "environment")),
    ],
)
def test_environment_and_release_fall_back_to_plain_variables(
    key: str, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """`ENVIRONMENT` and `VERSION` stand in; an empty variable is an absent one."""
    found = resolve(None, "api", environ)
    assert expected == (found.values[key], found.origins[key])


def test_every_bad_value_is_a_problem_that_names_where_it_came_from() -> None:
    """All problems are found at once; none of them quotes a value."""
    found = resolve(
        Snapshot({"SENTRY_TRACES_SAMPLE_RATE": 7}),
        "api",
        {"SENTRY_DSN": "c0ffee00", "SENTRY_SEND_PII": "perhaps"},
    )
    assert found.problems == {
        "SENTRY_TRACES_SAMPLE_RATE": "must be a number from 0 to 1 (from snapshot)",
        "SENTRY_DSN": "is not a DSN (https://KEY@HOST/PROJECT) (from environment)",
        "SENTRY_SEND_PII": (
            "must be true or false (also 1/0, yes/no, on/off) (from environment)"
        ),
    }
    assert "c0ffee" not in found.reason()
    assert found.reason().count("; ") == 2


def test_values_with_violations_reset_have_no_bad_dsn_and_no_pii() -> None:
    """What must not hold is replaced by its default, everything else stays."""
    found = resolve(
        None,
        "api",
        {"SENTRY_DSN": PLAIN, "SENTRY_SEND_PII": "true", "VERSION": "1.2"},
    ).with_violations_reset()
    assert {"SENTRY_DSN", "SENTRY_SEND_PII"} == set(found.problems)
    assert found.values["SENTRY_DSN"] == ""
    assert found.values["SENTRY_SEND_PII"] is False
    assert found.values["SENTRY_RELEASE"] == "1.2"


def test_every_default_is_a_value_that_its_own_key_reads() -> None:
    """No default would be refused if somebody wrote it down; None is no value at all."""
    unset = {name for name, key in KEYS.items() if key.default is None}
    assert unset == {
        "SENTRY_TRACES_SAMPLE_RATE",
        "SENTRY_PROFILES_SAMPLE_RATE",
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
        "SENTRY_ENABLE_LOGS",
    }
    for name in KEYS.keys() - unset:
        assert KEYS[name].default == KEYS[name].parse(KEYS[name].default), name


@pytest.mark.parametrize(
    "name", ["staging eu", "stäging", "a/b", "x" * 99, "$(reboot)", "none", "\u4e00"]
)
def test_a_name_of_the_process_s_own_environment_is_taken_as_it_is(name: str) -> None:
    """As the SDK takes it: another environment than production is not judged as that."""
    environ = {"SENTRY_DSN": PLAIN, "SENTRY_SEND_PII": "true", "VERSION": name}
    for variable in ("SENTRY_ENVIRONMENT", "ENVIRONMENT"):
        found = resolve(None, "api", {**environ, variable: name})
        assert found.problems == {}
        assert found.values["SENTRY_ENVIRONMENT"] == name
        assert found.values["SENTRY_RELEASE"] == name


@pytest.mark.parametrize("name", [" production ", "Production", "PROD", "prod\t"])
def test_production_is_production_however_it_is_written(name: str) -> None:
    """Spaces around it and capital letters do not loosen what must hold there."""
    found = resolve(None, "api", {"SENTRY_DSN": PLAIN, "SENTRY_ENVIRONMENT": name})
    assert set(found.problems) == {"SENTRY_DSN"}


def test_a_name_in_a_snapshot_has_no_character_that_a_shell_trips_over() -> None:
    """There it is refused, and the default counts."""
    found = resolve(Snapshot({"SENTRY_ENVIRONMENT": "staging eu"}), "api", {})
    assert set(found.problems) == {"SENTRY_ENVIRONMENT"}
    assert found.values["SENTRY_ENVIRONMENT"] == "production"


@pytest.mark.parametrize("values", [{"SENTRY_SEND_PII": True}, {"SENTRY_DSN": PLAIN}])
@pytest.mark.parametrize("own", ["ENVIRONMENT", "SENTRY_ENVIRONMENT"])
@pytest.mark.parametrize("named", ["x", "staging", "Prod"])
@pytest.mark.parametrize("judged_by", ["", "staging"])
def test_no_snapshot_talks_a_process_out_of_production(
    values: dict[str, Any], own: str, named: str, judged_by: str
) -> None:
    """Its own variables count, whatever the snapshot names and whoever judged it."""
    snapshot = Snapshot(
        {"SENTRY_DSN": DSN, "SENTRY_ENVIRONMENT": named} | values, judged_by=judged_by
    )
    for role in ("api", "web"):
        given = replace(snapshot, roles={"web": {"SENTRY_ENVIRONMENT": named}})
        found = resolve(given, role, {own: "production"})
        assert found.problems.keys() == values.keys()
        assert found.reason().endswith(f"in production ({own} of this process)")
        assert resolve(given, role, {own: "test"}).problems.keys() == (
            values.keys() if named == "Prod" else set()
        )


def test_a_process_judges_by_the_environment_that_the_agent_judged_by() -> None:
    """So that both agree, also where the process names another environment or none."""
    snapshot = Snapshot({"SENTRY_SEND_PII": True, "SENTRY_DSN": DSN}, judged_by="PROD")
    for environ in ({}, {"ENVIRONMENT": "staging"}):
        found = resolve(snapshot, "api", environ)
        assert found.problems == {
            "SENTRY_SEND_PII": "must be false in production (the agent's environment)"
        }
    staging = replace(snapshot, judged_by="staging")
    assert resolve(staging, "api", {}).problems == {}


def test_an_error_says_where_production_came_from() -> None:
    """A variable, the snapshot, or the default."""
    where = "SENTRY_ENVIRONMENT of the snapshot"
    given = Snapshot({"SENTRY_ENVIRONMENT": "Prod"})
    assert resolve(given, "api", {}).reason().endswith(f"in production ({where})")
    where = "the default: neither SENTRY_ENVIRONMENT nor ENVIRONMENT is set"
    assert resolve(None, "api", {}).reason().endswith(f"in production ({where})")


@pytest.mark.parametrize("host", ["[2001:db8::1]:9000", "[::ffff:10.0.0.1]", "[::]"])
def test_a_process_may_have_a_dsn_with_an_ipv6_address(host: str) -> None:
    """In its own environment: in a snapshot its brackets would need quotes in a shell."""
    found = resolve(None, "api", {"SENTRY_DSN": f"https://key@{host}/1"})
    assert found.problems == {}
