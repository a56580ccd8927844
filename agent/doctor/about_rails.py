"""Rules on the guard rails, and on privacy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.rule import Sight, rule
from resentry.values import PRODUCTION, judge, show_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts


@rule(
    "RSN401",
    "rails-broken",
    "error",
    "guard-rails",
    "What is published is outside the guard rails of now",
    fix="correct the values at the source, or widen the guard rails; then: `resentry-agent refresh`",
    causes=("RSN403",),
)
def broken(facts: Facts) -> Iterator[Sight]:
    """Judge the published snapshot by the settings of now.

    The rails were narrowed after it was published, and nothing at the source has changed
    since then.
    """
    rails = facts.own.guard_rails
    for name, problem in rails.problems(facts.published, facts.now).items():
        yield Sight(name, problem)


@rule(
    "RSN402",
    "no-allow-list",
    "info",
    "guard-rails",
    "Any DSN may be published",
    fix="set RESENTRY_ALLOWED_DSNS, as production=sentry.example.org/42",
)
def no_allow_list(facts: Facts) -> Iterator[Sight]:
    """Look whether the agent's settings list the DSNs that may be published.

    Without a list, whoever writes the secret decides where events go.
    """
    if not facts.own.allowed_dsns:
        yield Sight("RESENTRY_ALLOWED_DSNS", "it is not set")


@rule(
    "RSN403",
    "environment-not-listed",
    "error",
    "guard-rails",
    "A list of the guard rails has no entry for the environment in force",
    fix="add an entry for this environment, or for *, and restart the agent",
)
def not_listed(facts: Facts) -> Iterator[Sight]:
    """Compare the environments of the lists with the agent's own.

    The list allows nothing then: each candidate that names such a value is refused.
    """
    for gap in facts.own.guard_rails.gaps():
        yield Sight(gap.partition(" ")[0], gap)


@rule(
    "RSN851",
    "pii-on",
    "warning",
    "privacy",
    "Personal data is sent to Sentry",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_SEND_PII=false`",
)
def pii(facts: Facts) -> Iterator[Sight]:
    """Look for `SENTRY_SEND_PII` in what is published, for each role.

    Names, addresses, cookies and request bodies are sent. docs/pii.md says what is
    scrubbed nevertheless.

    Wake who answers for privacy, if this was not meant.
    """
    for role, values in facts.values_by_role.items():
        if values.get("SENTRY_SEND_PII"):
            fix = facts.write("SENTRY_SEND_PII=false")
            yield Sight(role, "SENTRY_SEND_PII is true", fix=fix)


@rule(
    "RSN852",
    "dsn-in-the-clear",
    "warning",
    "privacy",
    "Events are sent without TLS",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_DSN=DSN`",
)
def in_the_clear(facts: Facts) -> Iterator[Sight]:
    """Look for a DSN with http to a host that is not this machine.

    Whoever is on the way can read and change events. Production refuses such a DSN.
    """
    for role, values in facts.values_by_role.items():
        as_in_production = judge(values, [(PRODUCTION, "")])
        problem = as_in_production.get("SENTRY_DSN", "")
        if values.get("SENTRY_DSN") and "https" in problem:
            detail = f"the DSN is {show_dsn(values['SENTRY_DSN'])}"
            yield Sight(role, detail, fix=facts.write("SENTRY_DSN=DSN"))
