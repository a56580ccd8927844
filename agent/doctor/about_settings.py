"""Rules on the agent's own settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.rule import Sight, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts


@rule(
    "RSN101",
    "settings-wrong",
    "error",
    "settings",
    "A setting of the agent is wrong",
    fix="correct the setting that is named; look again with `resentry-agent check`",
)
def wrong(facts: Facts) -> Iterator[Sight]:
    """Read the agent's settings as the agent does at its start.

    An agent that already runs goes on with the settings of its start. It does not start
    again with these.

    Wake nobody while the agent runs. Correct the setting before the next deployment.
    """
    facts.must_be_own()
    error = facts.settings_error
    if error is not None:
        subject, _, detail = error.what.partition(": ")
        yield Sight(subject, detail or error.what, fix=error.hint)


@rule(
    "RSN102",
    "settings-doubtful",
    "warning",
    "settings",
    "A setting is not known, or is read in an unexpected way",
    fix="correct or remove the setting: docs/settings.md lists them all; look again with `resentry-agent check`",
)
def doubtful(facts: Facts) -> Iterator[Sight]:
    """Look for what was noticed while the settings were read.

    A name that is not known is mostly a mistyped one. The setting that was meant has its
    default then.
    """
    said_by_rsn403 = facts.own.guard_rails.gaps()
    for warning in facts.warnings:
        if warning in said_by_rsn403:
            continue
        yield Sight("settings", warning)


@rule(
    "RSN103",
    "environment-assumed",
    "info",
    "settings",
    "Nothing names the agent's environment, so it counts as production",
    fix="set RESENTRY_ENVIRONMENT to the environment of the applications",
)
def assumed(facts: Facts) -> Iterator[Sight]:
    """Look whether `RESENTRY_ENVIRONMENT` or `ENVIRONMENT` is set.

    The guard rails go by it. In production they are the strictest: a DSN is required, and
    PII is refused.
    """
    names = ("RESENTRY_ENVIRONMENT", "ENVIRONMENT")
    is_named = any(facts.environ.get(name) for name in names)
    if facts.own.environment == "production" and not is_named:
        yield Sight("RESENTRY_ENVIRONMENT", "neither it nor ENVIRONMENT is set")
