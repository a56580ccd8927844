"""What an operator allows per environment."""

from __future__ import annotations

import pytest

from agent.domain.candidate import Candidate
from agent.domain.guard_rails import GuardRails
from agent.domain.validate import validate
from agent.errors import CandidateRefused, SettingsError
from agent.settings import load, parse

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


def dsn(host: str, project: int) -> str:
    return f"https://{KEY}@{host}/{project}"


def problems(rails: GuardRails, **values: object) -> tuple[str, ...]:
    try:
        validate(Candidate(values), rails, None)
    except CandidateRefused as refused:
        return refused.problems
    return ()


ALLOWED = GuardRails(
    allowed=parse.allowed_dsns(
        ["production=o1.example.org/1", "staging=o1.example.org"]
    )
)


@pytest.mark.parametrize(
    ("environment", "host", "project", "good"),
    [
        ("production", "o1.example.org", 1, True),
        ("production", "o1.example.org", 2, False),
        ("production", "o2.example.org", 1, False),
        ("staging", "o1.example.org", 2, True),
        ("staging", "o2.example.org", 2, False),
        ("development", "anything.example.org", 9, True),
    ],
)
def test_a_dsn_is_held_to_its_environment(
    environment: str, host: str, project: int, *, good: bool
) -> None:
    """So a staging DSN cannot reach production; what nothing names is free."""
    found = problems(
        ALLOWED, SENTRY_ENVIRONMENT=environment, SENTRY_DSN=dsn(host, project)
    )

    said = (
        f"SENTRY_DSN is not an allowed host and project in {environment} "
        "(RESENTRY_ALLOWED_DSNS lists them)"
    )
    assert (() if good else (said,)) == found


def test_the_dsn_of_a_role_is_held_too() -> None:
    """An override cannot carry what the plain key may not."""
    found = problems(
        ALLOWED,
        SENTRY_DSN=dsn("o1.example.org", 1),
        RESENTRY_ROLES={"celery": {"SENTRY_DSN": dsn("o2.example.org", 1)}},
    )

    assert len(found) == 1
    assert "of role celery" in found[0]


def test_rates_are_capped_per_environment() -> None:
    """A cap counts for traces and profiles; `*` is for environments without one."""
    rails = GuardRails(caps=parse.rates(["production=0.2", "*=0.5"]))
    rates = {"SENTRY_TRACES_SAMPLE_RATE": "0.3", "SENTRY_PROFILES_SAMPLE_RATE": "0.3"}

    assert len(problems(rails, SENTRY_ENVIRONMENT="production", **rates)) == 2
    assert problems(rails, SENTRY_ENVIRONMENT="staging", **rates) == ()


def test_a_boost_has_a_cap_of_its_own() -> None:
    """A boost above it is refused, by its name."""
    boost = {"id": "b1", "traces": 0.9, "until": "2099-01-01T00:00:00Z"}

    assert problems(GuardRails(boost_cap=0.5), RESENTRY_BOOSTS=[boost]) == (
        "boost b1 is above the cap of 0.5 (RESENTRY_BOOST_CAP sets the cap)",
    )


def test_a_rate_above_its_cap_names_the_setting_of_the_cap() -> None:
    """The operator sees which guard rail to look at."""
    rails = GuardRails(caps={"production": 0.5})

    (problem,) = problems(rails, SENTRY_TRACES_SAMPLE_RATE=0.6)
    assert problem == (
        "SENTRY_TRACES_SAMPLE_RATE must be at most 0.5 in production "
        "(RESENTRY_RATE_CAPS sets the cap)"
    )


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("allowed_dsns", "production"),
        ("allowed_dsns", "production=host/project"),
        ("allowed_dsns", "=host/1"),
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
    with pytest.raises(SettingsError, match=setting.upper()):
        load({}, {f"RESENTRY_{setting.upper()}": value})


def test_minimum_counts_are_read_by_role() -> None:
    """`api=2,celery=1` asks for two workers of one and one of the other."""
    settings = load({}, {"RESENTRY_MIN_TARGETS": "api=2, celery=1"}).settings

    assert settings.min_targets == {"api": 2, "celery": 1}
