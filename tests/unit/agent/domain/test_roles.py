"""What each role sends, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.status_texts import rate_text
from agent.domain.roles import rates_by_role
from agent.domain.rollout import LiveTarget, assess
from agent.domain.versions import are_apart
from resentry.contract import Boost, Rule, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from resentry.contract import Receipt

    Make = Callable[..., Receipt]

VALUES = {"SENTRY_SAMPLE_RATE": 1.0, "SENTRY_TRACES_SAMPLE_RATE": 0.1}
ORIGINS = {"SENTRY_SAMPLE_RATE": "default", "SENTRY_TRACES_SAMPLE_RATE": "role"}
UNTIL = "2026-11-24T06:15:00Z"
CURRENT = Snapshot(
    {},
    rules=(Rule("GET /health", 0.0), Rule("GET /*", 1.0, role="celery")),
    boosts=(
        Boost("b1", 1.0, UNTIL, role="api"),
        Boost("b2", 1.0, UNTIL),
        Boost("b3", 1.0, UNTIL, role="celery"),
        Boost("over", 1.0, UNTIL),
    ),
)


def process(receipt: Make, pid: int, **more: Any) -> LiveTarget:
    given = {"values": VALUES, "origins": ORIGINS, "dsn": "a" * 12, **more}
    return LiveTarget(receipt(id=f"{pid:016}", pid=pid, **given), 0)


def test_processes_of_a_role_that_send_the_same_are_one(receipt: Make) -> None:
    """A process that differs is a row of its own; rules and boosts are those of the role."""
    other = {**VALUES, "SENTRY_TRACES_SAMPLE_RATE": None}
    targets = [
        process(receipt, 1),
        process(receipt, 2),
        process(receipt, 3, values=other),
        LiveTarget.unreadable("f" * 16, 4, "no receipt"),
    ]
    rollout = assess(targets, CURRENT, late=False)
    same, differs = rates_by_role(CURRENT, rollout, ["b1", "b2", "b3"])
    assert same.processes == ("api pid 1", "api pid 2")
    assert [(rate.value, rate.origin) for rate in same.rates] == [
        *((1.0, "default"), (0.1, "role")),
        (None, ""),
    ]
    assert (same.rules, same.boosts, same.off) == (1, ("b1", "b2"), "")
    assert differs.processes == ("api pid 3",)
    assert differs.rates[1].value is None


def test_sessions_and_logs_are_named_only_where_their_keys_are_set(
    receipt: Make,
) -> None:
    """Unset, the application's own options decide, and nobody here knows them."""
    unset = {"SENTRY_PROFILE_SESSION_SAMPLE_RATE": None, "SENTRY_ENABLE_LOGS": None}
    given = {"SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.5, "SENTRY_ENABLE_LOGS": False}
    found = []
    for more in ({}, unset, given):
        target = process(receipt, 1, values={**VALUES, **more})
        (row,) = rates_by_role(CURRENT, assess([target], CURRENT, late=False), [])
        found.append({rate.setting: rate.value for rate in row.rates[3:]})
    logs_off = {"SENTRY_PROFILE_SESSION_SAMPLE_RATE": 0.5, "SENTRY_ENABLE_LOGS": 0.0}
    assert found == [{}, {}, logs_off]
    assert rate_text("SENTRY_ENABLE_LOGS", 0.0) == "logs off"
    assert rate_text("SENTRY_ENABLE_LOGS", 1.0) == "logs on"
    assert rate_text("SENTRY_PROFILE_SESSION_SAMPLE_RATE", 0.5) == (
        "profile sessions 0.5"
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"dsn": ""}, "it has no DSN"),
        ({"foreign": True}, "the application's own client runs"),
        (
            {
                "dsn": "",
                "role": "celery",
                "values": {"SENTRY_ENABLE_FOR_CELERY": False},
            },
            "SENTRY_ENABLE_FOR_CELERY=false switches Sentry off",
        ),
    ],
    ids=str,
)
def test_a_role_that_sends_nothing_says_why(
    receipt: Make, more: dict[str, Any], why: str
) -> None:
    """A rate of it would be misleading."""
    rollout = assess([process(receipt, 1, **more)], None, late=False)
    (one,) = rates_by_role(None, rollout, [])
    assert one.off == why


@pytest.mark.parametrize(
    ("agent", "library", "apart"),
    [
        ("0.1.0", "0.1.9", False),
        ("0.1.0", "0.2.0", False),
        ("0.1.0", "0.3.0", True),
        ("1.0.0", "0.9.0", True),
        ("0.1.0", "", True),
        ("dev", "dev", False),
    ],
)
def test_two_neighbouring_minor_versions_work_together(
    agent: str, library: str, *, apart: bool
) -> None:
    """An unknown version is apart."""
    assert are_apart(agent, library) is apart
