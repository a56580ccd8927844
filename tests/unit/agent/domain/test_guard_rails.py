"""What an operator allows per environment, whatever a secret names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.domain.candidate import Candidate
from agent.domain.validate import validate
from agent.domain.value import replace
from agent.errors import CandidateRefused, SettingsError
from agent.settings import load
from resentry.contract import time_text

if TYPE_CHECKING:
    from agent.domain.guard_rails import GuardRails

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
NOW = 1_795_500_000.0


def dsn(host: str, project: int = 1) -> str:
    return f"https://{KEY}@{host}/{project}"


def problems(rails: GuardRails, **values: object) -> tuple[str, ...]:
    try:
        validate(Candidate(values), rails, None, NOW)
    except CandidateRefused as refused:
        return refused.problems
    return ()


def rails(**environ: str) -> GuardRails:
    """Return the guard rails of settings like `ALLOWED_DSNS`."""
    named = {f"RESENTRY_{name}": value for name, value in environ.items()}
    return load({}, named).settings.guard_rails


STRICT = rails(
    ENVIRONMENT="production",
    ALLOWED_DSNS="production=sentry.example.org/1",
    RATE_CAPS="production=0.1",
    BOOST_CAP="0.5",
)
GOOD = {"SENTRY_DSN": dsn("sentry.example.org")}
EVIL: list[tuple[str, dict[str, Any]]] = [
    ("SENTRY_DSN", {"SENTRY_DSN": dsn("evil.example")}),
    ("SENTRY_DSN", {"SENTRY_DSN": f"http://{KEY}@sentry.example.org/1"}),
    ("SENTRY_SEND_PII", {"SENTRY_SEND_PII": True}),
    ("SENTRY_TRACES_SAMPLE_RATE", {"SENTRY_TRACES_SAMPLE_RATE": 0.2}),
    ("SENTRY_PROFILES_SAMPLE_RATE", {"SENTRY_PROFILES_SAMPLE_RATE": 0.2}),
    (
        "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
        {"SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.2},
    ),
]


@pytest.mark.parametrize("named", [None, "x", "Production", "prod", "PROD", "dev"])
@pytest.mark.parametrize("where", ["settings", "role", "role alone"])
@pytest.mark.parametrize(
    ("key", "evil"),
    EVIL,
    ids=["host", "http", "PII", "traces", "profiles", "sessions"],
)
def test_no_name_of_an_environment_loosens_the_agents_own(
    named: str | None, where: str, key: str, evil: dict[str, Any]
) -> None:
    """However the writer of a secret names it, in the settings or in a role."""
    other = {"SENTRY_ENVIRONMENT": named} if named else {}
    values: dict[str, Any] = GOOD | other | evil
    if where == "role":
        values = GOOD | {"RESENTRY_ROLES": {"web": other | evil}}
    if where == "role alone":
        values = {"RESENTRY_ROLES": {"web": other | evil}}
    role = "" if where == "settings" else " of role web"
    found = problems(STRICT, **values)
    assert any(problem.startswith(f"{key}{role} ") for problem in found), found
    assert KEY not in str(found)


@pytest.mark.parametrize("named", ["x", "dev", "staging"])
@pytest.mark.parametrize("is_role", [False, True], ids=["settings", "role"])
def test_another_environment_must_be_allowed(named: str, *, is_role: bool) -> None:
    """The error says what to set, and does not quote the secret."""
    other: dict[str, Any] = {"SENTRY_ENVIRONMENT": named}
    values = {"RESENTRY_ROLES": {"web": other}} if is_role else other
    (problem,) = problems(STRICT, **GOOD, **values)
    assert problem == (
        f"SENTRY_ENVIRONMENT{' of role web' if is_role else ''} is not the agent's "
        "environment, production (RESENTRY_ENVIRONMENT): set RESENTRY_ENVIRONMENT to "
        "the application's environment, or let RESENTRY_ALLOWED_ENVIRONMENTS list the "
        "environment of the secret"
    )


@pytest.mark.parametrize("allowed", ["staging", "Staging,qa", "*"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("both.example.org", 0),
        ("own.example.org", 1),
        ("staging.example.org", 1),
    ],
)
def test_an_allowed_environment_must_pass_the_rails_of_both(
    allowed: str, host: str, expected: int
) -> None:
    """Those of the agent's environment, and those of the other one."""
    both = rails(
        ENVIRONMENT="production",
        ALLOWED_ENVIRONMENTS=allowed,
        ALLOWED_DSNS="production=both.example.org,production=own.example.org,"
        "staging=both.example.org,staging=staging.example.org,qa=both.example.org",
    )
    found = problems(both, SENTRY_ENVIRONMENT="staging", SENTRY_DSN=dsn(host))
    assert len(found) == expected
    assert len(problems(both, SENTRY_ENVIRONMENT="staging", SENTRY_SEND_PII=True)) == 1


def test_an_agent_outside_production_lets_no_secret_name_production() -> None:
    """If that is allowed, the rules of production count."""
    staging = rails(ENVIRONMENT="staging")
    pii = {"SENTRY_SEND_PII": True}
    assert problems(staging, **pii) == ()
    assert len(problems(staging, SENTRY_ENVIRONMENT="production")) == 1
    allowing = rails(ENVIRONMENT="staging", ALLOWED_ENVIRONMENTS="prod")
    assert problems(allowing, SENTRY_ENVIRONMENT="Production") == ()
    (problem,) = problems(allowing, SENTRY_ENVIRONMENT="Production", **pii)
    assert problem == (
        "SENTRY_SEND_PII must be false in production (SENTRY_ENVIRONMENT)"
    )


@pytest.mark.parametrize("own", ["prod", "Production", " production "])
def test_environments_are_compared_without_case_and_prod_is_production(
    own: str,
) -> None:
    """In the agent's own, in each list, and in the secret."""
    for entry in ("prod", "PRODUCTION", "production"):
        some = rails(
            ENVIRONMENT=own,
            ALLOWED_DSNS=f"{entry}=a.example.org",
            RATE_CAPS=f"{entry}=0.1",
        )
        assert some.gaps() == ()
        for named in ("Prod", "production"):
            values = {"SENTRY_ENVIRONMENT": named, "SENTRY_DSN": dsn("a.example.org")}
            assert problems(some, **values) == ()
            assert len(problems(some, **values | EVIL[0][1])) == 1
            assert len(problems(some, **values, SENTRY_TRACES_SAMPLE_RATE=0.2)) == 1


@pytest.mark.parametrize("setting", ["ALLOWED_DSNS", "RATE_CAPS"])
def test_a_list_without_an_entry_allows_nothing(setting: str) -> None:
    """And the agent says so when it starts, for each environment in force."""
    entry = "qa=a.example.org" if setting == "ALLOWED_DSNS" else "qa=0.5"
    environ = {
        "RESENTRY_ENVIRONMENT": "staging",
        "RESENTRY_ALLOWED_ENVIRONMENTS": "demo",
        f"RESENTRY_{setting}": entry,
    }
    loaded = load({}, environ)
    values = {"SENTRY_DSN": dsn("a.example.org"), "SENTRY_TRACES_SAMPLE_RATE": 0.01}
    (problem,) = problems(loaded.settings.guard_rails, **values)
    assert "staging" in problem
    assert f"RESENTRY_{setting}" in problem
    first, second = loaded.warnings
    assert first.startswith(f"RESENTRY_{setting} has no entry for staging, so no ")
    assert second.startswith(f"RESENTRY_{setting} has no entry for demo, so no ")

    star = rails(**{setting: f"{entry},*={entry.partition('=')[2]}"})
    assert problems(star, **values) == ()
    assert star.gaps() == ()


def test_a_star_is_the_entry_for_all_others_only() -> None:
    """An environment with entries of its own takes nothing from `*`."""
    some = rails(
        ALLOWED_DSNS="production=own.example.org,*=other.example.org",
        RATE_CAPS="production=0.1,*=0.5",
    )
    assert problems(some, SENTRY_DSN=dsn("own.example.org")) == ()
    assert len(problems(some, SENTRY_DSN=dsn("other.example.org"))) == 1
    assert len(problems(some, SENTRY_TRACES_SAMPLE_RATE=0.3)) == 1
    staging = replace(some, environment="staging")
    assert problems(staging, SENTRY_DSN=dsn("other.example.org")) == ()
    assert len(problems(staging, SENTRY_DSN=dsn("own.example.org"))) == 1
    assert problems(staging, SENTRY_TRACES_SAMPLE_RATE=0.3) == ()


@pytest.mark.parametrize(
    ("entry", "url", "good"),
    [
        ("sentry.example.org", "https://k@sentry.example.org/1", True),
        ("Sentry.Example.Org", "https://k@sentry.example.org/1", True),
        ("sentry.example.org", "https://k@SENTRY.example.org/1", True),
        ("sentry.example.org:443", "https://k@sentry.example.org/1", True),
        ("sentry.example.org", "https://k@sentry.example.org:443/1", True),
        ("sentry.example.org.", "https://k@sentry.example.org/1", True),
        ("sentry.example.org", "https://k@sentry.example.org./1", True),
        ("sentry.example.org:443", "http://k@sentry.example.org/1", False),
        ("sentry.example.org", "https://k@sentry.example.org:8443/1", False),
        ("sentry.example.org:8443", "https://k@sentry.example.org:8443/1", True),
        ("sentry.example.org:8443", "https://k@sentry.example.org/1", False),
        ("sentry.example.org/*", "https://k@sentry.example.org/2", True),
        ("sentry.example.org/1", "https://k@sentry.example.org/2", False),
        ("*/1", "https://k@anything.example.org:9/1", True),
        ("*/1", "https://k@anything.example.org/2", False),
        ("10.0.0.1:9000/1", "https://k@10.0.0.1:9000/1", True),
        ("sentry.example.org", "https://k@sentry.example.org.evil.example/1", False),
        ("sentry.example.org", "https://k@evil.example/sentry.example.org/1", False),
    ],
)
def test_an_entry_takes_a_host_as_people_write_it(
    entry: str, url: str, *, good: bool
) -> None:
    """Upper case, a final dot, and the default port change nothing."""
    some = rails(ENVIRONMENT="staging", ALLOWED_DSNS=f"staging={entry}")
    assert (problems(some, SENTRY_DSN=url) == ()) is good


@pytest.mark.parametrize("role", [None, "web", "other"])
def test_the_rate_of_a_rule_is_capped(role: str | None) -> None:
    """In the environment of each process that the rule concerns."""
    rule = {"match": "*", "traces": 0.2} | ({"role": role} if role else {})
    roles = {"RESENTRY_ROLES": {"web": {"SENTRY_SAMPLE_RATE": 1}}}
    for given in ({}, roles):
        assert problems(
            STRICT, RESENTRY_RULES=[{"match": "x", "traces": 0.1}, rule], **given
        ) == (
            (
                "RESENTRY_RULES[1] traces must be at most 0.1 in production "
                "(RESENTRY_RATE_CAPS sets the cap)"
            ),
        )
    by_role = rails(
        ENVIRONMENT="staging",
        ALLOWED_ENVIRONMENTS="production",
        RATE_CAPS="production=0.1,*=1",
    )
    roles = {"RESENTRY_ROLES": {"web": {"SENTRY_ENVIRONMENT": "production"}}}
    found = problems(by_role, RESENTRY_RULES=[rule], **roles)
    assert len(found) == (0 if role == "other" else 1)


@pytest.mark.parametrize(
    ("traces", "hours", "expected"),
    [
        (0.5, 24, ()),
        (0.5, -24 * 365, ()),
        (
            0.6,
            1,
            (
                "RESENTRY_BOOSTS[0] traces must be at most 0.5 (RESENTRY_BOOST_CAP sets it)",
            ),
        ),
        (0.5, 24.001, ("RESENTRY_BOOSTS[0] until must be at most one day from now",)),
        (
            0.5,
            24 * 365 * 70,
            ("RESENTRY_BOOSTS[0] until must be at most one day from now",),
        ),
    ],
)
def test_a_boost_of_the_source_is_bounded_like_an_operators(
    traces: float, hours: float, expected: tuple[str, ...]
) -> None:
    """It has a cap of its own, above that of the rates, and ends within a day."""
    until = time_text(NOW + hours * 3600, "seconds")
    boost = {"id": "b1", "traces": traces, "until": until}
    assert problems(STRICT, RESENTRY_BOOSTS=[boost]) == expected


def test_a_rate_above_its_cap_names_the_setting_of_the_cap() -> None:
    """The operator sees which guard rail to look at."""
    (problem,) = problems(rails(RATE_CAPS="*=0.5"), SENTRY_TRACES_SAMPLE_RATE=0.6)
    assert problem == (
        "SENTRY_TRACES_SAMPLE_RATE must be at most 0.5 in production "
        "(RESENTRY_RATE_CAPS sets the cap)"
    )


def test_the_rate_of_errors_is_not_capped() -> None:
    """Caps are for traces and profiles."""
    assert problems(STRICT, SENTRY_SAMPLE_RATE=1.0) == ()


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({}, "the default: neither RESENTRY_ENVIRONMENT nor ENVIRONMENT is set"),
        ({"ENVIRONMENT": "prod"}, "ENVIRONMENT"),
        (
            {"ENVIRONMENT": "staging", "RESENTRY_ENVIRONMENT": "production"},
            "RESENTRY_ENVIRONMENT",
        ),
    ],
)
def test_an_error_says_where_production_came_from(
    environ: dict[str, str], place: str
) -> None:
    """So nobody has to guess whose environment counts."""
    some = load({}, environ).settings.guard_rails
    assert problems(some, SENTRY_DSN="") == (
        f"SENTRY_DSN is required in production ({place})",
    )


def test_an_environment_without_a_name_is_a_settings_error() -> None:
    """It would be no production, although nobody has said so."""
    with pytest.raises(SettingsError, match="RESENTRY_ENVIRONMENT: must be the name"):
        load({}, {"RESENTRY_ENVIRONMENT": " "})
    assert load({}, {"ENVIRONMENT": ""}).settings.environment == "production"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allowed_dsns", "production"),
        ("allowed_dsns", "production=host/project"),
        ("allowed_dsns", ","),
        ("rate_caps", " , "),
        ("allowed_dsns", "=host/1"),
        ("allowed_dsns", "production=*.example.org"),
        ("allowed_dsns", "production=*example.org/1"),
        ("allowed_dsns", "production=https://sentry.example.org"),
        ("allowed_dsns", f"production=https://{KEY}@sentry.example.org/1"),
        ("allowed_dsns", f"https://{KEY}@sentry.example.org/1"),
        ("allowed_dsns", "production=sentry..example.org"),
        ("allowed_dsns", "production=sentry.example.org:0"),
        ("allowed_dsns", "production=sentry.example.org:x"),
        ("allowed_dsns", "production=::1/1"),
        ("rate_caps", "prod=0.1,production=0.5"),
        ("rate_caps", "production=7"),
        ("rate_caps", "=0.5"),
        ("min_targets", "api=two"),
        ("min_targets", "=2"),
    ],
)
def test_an_entry_that_cannot_be_read_is_a_settings_error(
    setting: str, value: str
) -> None:
    """A guard rail with a typing error must not silently guard nothing."""
    with pytest.raises(SettingsError, match=setting.upper()) as caught:
        load({}, {f"RESENTRY_{setting.upper()}": value})
    assert KEY not in str(caught.value)


def test_minimum_counts_are_read_by_role() -> None:
    """`api=2,celery=1` asks for two workers of one and one of the other."""
    settings = load({}, {"RESENTRY_MIN_TARGETS": "api=2, celery=1"}).settings

    assert settings.min_targets == {"api": 2, "celery": 1}
