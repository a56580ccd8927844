"""Rules on Vault, or on the mounted files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.rule import Sight, SkippedError, UnknownError, rule
from agent.errors import (
    SourceDenied,
    SourceDown,
    SourceMissing,
    SourceStale,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts
    from agent.errors import AgentError

_POLLS = 3
"""A source that was not read for this many intervals is stale."""
_CLOCK_SECONDS = 60.0
_STEPS = (SourceDown, SourceDenied, SourceMissing)
"""The errors of the source, in the order in which they come up."""


def failed(facts: Facts, kind: type[AgentError]) -> Iterator[Sight]:
    """Return a sight if the source was asked just now and answered with this error.

    What another error stands before is unknown. If the source was left out, the newest
    pass of the agent tells of it. A pass that went well proves nothing of now.
    """
    report = facts.status.source
    if facts.asked is None and report.error == kind.__name__:
        yield Sight(
            where(facts),
            report.sentence,
            since=report.since or "",
            fix=report.hint,
        )
        return
    error = facts.source.error
    is_stale = isinstance(error, SourceStale)
    before = _STEPS[: _STEPS.index(kind)]
    if isinstance(error, before) and not is_stale:
        raise UnknownError(error.what)
    if isinstance(error, kind) and not is_stale:
        since = facts.status.source.since if facts.status.source.failures else None
        yield Sight(where(facts), error.what, since=since or "", fix=error.hint)


def where(facts: Facts) -> str:
    """Return the source's address or path."""
    if facts.is_copy:  # its settings are not known
        address = facts.status.source.where.get("address")
        return str(address or facts.status.source.where.get("path") or "the source")
    return facts.settings.source_path or facts.settings.shown_addr


@rule(
    "RSN201",
    "source-down",
    "error",
    "vault",
    "The source does not answer",
    fix="`resentry-agent check` tells where it ends: name, network, TLS, login or path",
    causes=("RSN101",),
)
def down(facts: Facts) -> Iterator[Sight]:
    """Ask the source as a pass does: network, TLS, time, and whether Vault is sealed.

    Applications keep running what is published. A change at the source reaches nobody
    until it answers again, and the agent keeps trying.

    Wake who runs Vault if a change has to get through now, as with a leaked key.
    """
    for sight in failed(facts, SourceDown):
        detail = sight.detail.replace(f" at {sight.subject}", "")
        if facts.current is not None and "stays published" not in detail:
            detail += "; applications keep running what is published"
        fix = f"resentry-agent check tells where it ends; {sight.fix}"
        yield sight._replace(detail=detail, fix=fix.removesuffix("; "))


@rule(
    "RSN202",
    "access-denied",
    "error",
    "vault",
    "The source refuses access",
    fix="correct RESENTRY_VAULT_PATHS, or give the token the policy that `resentry-agent check --policy` prints",
    causes=("RSN101", "RSN201"),
)
def denied(facts: Facts) -> Iterator[Sight]:
    """Log in, and read each path. Vault answers so for a mistyped path, too.

    Either the login is refused, or the token may not read the path. The command prints
    the policy that the token needs.

    Wake who writes Vault's policies.
    """
    yield from failed(facts, SourceDenied)


@rule(
    "RSN203",
    "source-not-read",
    "warning",
    "vault",
    "The agent has not read the source for a long time",
    fix="`resentry-agent refresh`",
    causes=("RSN201", "RSN202", "RSN204", "RSN301", "RSN302", "RSN502", "RSN505"),
)
def stale(facts: Facts) -> Iterator[Sight]:
    """Compare the last good pass with the interval of the polls.

    What is published may be older than what the source holds.
    """
    source = facts.last_pass
    if facts.status.agent != "running":
        raise SkippedError("no agent runs")
    limit = _POLLS * facts.own.poll_seconds + facts.settings.pass_seconds
    age = facts.seconds_since(source.last_success_at)
    if age is not None and age > limit:
        yield Sight(
            where(facts),
            f"last read {age:.0f} s ago; a poll is due each "
            f"{facts.settings.poll_seconds:g} s",
            since=source.last_success_at or "",
        )


@rule(
    "RSN204",
    "older-version",
    "warning",
    "vault",
    "Vault gives an older version of the secret than before",
    fix="if Vault was restored from a backup: `resentry-agent refresh --accept-older`",
    causes=("RSN101", "RSN201", "RSN202", "RSN301"),
)
def older(facts: Facts) -> Iterator[Sight]:
    """Compare the version of the secret with the newest one that was ever read.

    A standby that lags behind gives such an answer for seconds. A Vault that was restored
    from a backup gives it for ever, until an operator accepts it.
    """
    error = facts.vault.error
    since = facts.status.source.where.get("stale_since")
    if error is not None and not isinstance(error, SourceStale) and not since:
        raise UnknownError(error.what)
    detail = "the running agent gets older answers" if since else ""
    if isinstance(error, SourceStale):
        detail = error.what
    if detail:
        yield Sight(where(facts), detail, since=str(since or ""))


@rule(
    "RSN205",
    "certificate-not-checked",
    "warning",
    "vault",
    "The certificate of Vault is not checked",
    fix="set RESENTRY_VAULT_CA to the authority's certificate, and remove "
    "RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY",
)
def unverified(facts: Facts) -> Iterator[Sight]:
    """Look whether the check of certificates is turned off.

    Whoever is between the agent and Vault can read the token, and give any DSN.
    """
    if facts.own.vault_insecure_skip_tls_verify:
        yield Sight("RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY", "it is on")


@rule(
    "RSN206",
    "token-too-strong",
    "warning",
    "vault",
    "The token may do more than the agent needs",
    fix="make a token with the policy that `resentry-agent check --policy` prints",
    causes=("RSN101", "RSN201", "RSN202"),
)
def too_strong(facts: Facts) -> Iterator[Sight]:
    """Ask Vault what the token may do with each path.

    The agent only reads. A token that may write could be used to change the DSN by
    whoever takes it from the pod. `rotate` needs such a token, but gets one of its own: with
    that token this rule says what the agent must not have.
    """
    asked = facts.vault
    if asked.surplus is None:
        raise UnknownError(_not_asked(facts))
    for right in asked.surplus:
        yield Sight(where(facts), f"the token has {right}")


@rule(
    "RSN207",
    "token-ends",
    "warning",
    "vault",
    "The token ends, and nothing renews it",
    fix="use a login (RESENTRY_VAULT_AUTH), a token file that is written anew, or a "
    "periodic token",
    causes=("RSN101", "RSN201", "RSN202"),
)
def token_ends(facts: Facts) -> Iterator[Sight]:
    """Look whether a given token can be renewed.

    When it ends the agent can read nothing any more. What is published stays.
    """
    if facts.vault.error is not None and facts.vault.is_renewable is None:
        raise UnknownError(_not_asked(facts))
    ends = facts.vault.token_ends_at
    if facts.vault.is_renewable is False and ends:
        yield Sight(
            facts.settings.vault_auth, f"it ends at {ends}, and cannot be renewed"
        )


@rule(
    "RSN901",
    "clock-off",
    "warning",
    "clock",
    "This machine's clock differs from the source's",
    fix="correct the clock of the machine that is off; compare: `date -u` and `curl -sI URL`",
    causes=(
        "RSN101",
        "RSN201",
    ),
)
def clock_off(facts: Facts) -> Iterator[Sight]:
    """Compare the clock with the time in Vault's answer.

    Boosts end by the clock of each process: they end too early or too late. Tokens and
    certificates may be refused.
    """
    seconds = facts.vault.clock_seconds
    if seconds is None:
        raise UnknownError(_not_asked(facts))
    if abs(seconds) > _CLOCK_SECONDS:
        side = "ahead of" if seconds > 0 else "behind"
        fix = f"compare: date -u; curl -sI {where(facts)}/v1/sys/health"
        detail = f"it is {abs(seconds):.0f} s {side} Vault's"
        yield Sight(where(facts), detail, fix=fix)


def _not_asked(facts: Facts) -> str:
    error = facts.vault.error
    return (
        f"Vault did not tell: {error.what}"
        if error is not None
        else "Vault did not tell"
    )
