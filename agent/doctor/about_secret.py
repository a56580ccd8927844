"""Rules on the secret at the source, and on what was made of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.doctor.about_source import failed, where
from agent.doctor.facts import secret_of
from agent.doctor.rule import Sight, rule
from agent.domain.validate import validate
from agent.errors import UNDELETE, CandidateRefused, SourceMissing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.doctor.facts import Facts

_SAID_ELSEWHERE = (
    "DSN check of",
    "a rollback holds",
    "Vault gives older versions",
    "the source has no SENTRY_DSN",
    "the tuning file ",
)
"""How the notes begin that another rule tells."""


@rule(
    "RSN301",
    "secret-missing",
    "error",
    "secret",
    "The source has no such secret",
    fix="a deleted version: `vault kv undelete -mount=MOUNT -versions=NUMBER PATH`; a missing secret: `vault kv put -mount=MOUNT PATH KEY=VALUE` with all its keys",
    causes=("RSN101", "RSN201", "RSN202"),
)
def missing(facts: Facts) -> Iterator[Sight]:
    """Read each path. It is missing, deleted, or the path names another mount.

    Wake who writes the secret.
    """
    for sight in failed(facts, SourceMissing):
        if UNDELETE in sight.fix:
            yield sight
        else:
            yield sight._replace(fix=facts.write_anew(sight.detail))


@rule(
    "RSN302",
    "secret-refused",
    "error",
    "secret",
    "The values at the source are refused",
    fix="correct the values at the source, then: `resentry-agent refresh`; or go back: `vault kv rollback -mount=MOUNT -version=NUMBER PATH`, then: `resentry-agent refresh`",
    causes=("RSN101", "RSN201", "RSN202", "RSN301", "RSN403"),
)
def refused(facts: Facts) -> Iterator[Sight]:
    """Judge what the source holds now. With --offline, look at the agent's last pass.

    A value is wrong, or outside the guard rails. The last good snapshot stays published.
    No value is quoted, for it may be a secret.

    Wake who has changed the secret.
    """
    if facts.asked is not None:
        try:
            rails = facts.settings.guard_rails
            validate(facts.candidate, rails, facts.current, facts.now)
        except CandidateRefused as error:
            yield _refused(facts, error.what, error.hint)
        return
    source = facts.last_pass
    if source.error == CandidateRefused.__name__:
        yield _refused(facts, source.sentence, source.hint)


def _refused(facts: Facts, what: str, hint: str) -> Sight:
    """Name the version that is refused and the last good one of each secret, if known."""
    report = facts.status.source
    since = report.since if report.error == CandidateRefused.__name__ else ""
    good = _versions(facts.current.provenance if facts.current else {})
    read = facts.asked.candidate if facts.asked else None
    bad = _versions(read.provenance if read else {})
    evidence, commands = [], []
    for path, version in good.items():
        if bad.get(path, version) != version:
            evidence.append(f"{path}: version {bad[path]} is new, {version} was good")
            commands.append(
                f"vault kv rollback -version={version} {secret_of(path)} && "
                "resentry-agent refresh"
            )
    fix = f"{hint}; or go back: {'; '.join(commands)}" if commands else hint
    return Sight(where(facts), what, tuple(evidence), since or "", fix)


def _versions(provenance: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the version of each secret, by its path."""
    return {
        str(origin["path"]): origin["version"]
        for origin in provenance.values()
        if type(origin.get("version")) is int and "path" in origin
    }


@rule(
    "RSN303",
    "secret-noted",
    "info",
    "secret",
    "The agent has noticed something about the secret",
    fix="`resentry-agent status` shows all that was noticed",
)
def noted(facts: Facts) -> Iterator[Sight]:
    """Show the notes of the last pass: unknown keys, keys that are gone, a fixed release.

    The secret was published all the same.
    """
    for note in facts.last_pass.notes:
        if not note.startswith(_SAID_ELSEWHERE):
            yield Sight(where(facts), note)


@rule(
    "RSN304",
    "dsn-missing",
    "error",
    "secret",
    "No DSN is published for a role, and production requires one",
    fix="`vault kv patch -mount=MOUNT PATH SENTRY_DSN=DSN`",
)
def dsn_missing(facts: Facts) -> Iterator[Sight]:
    """Look for a DSN in the published snapshot, for each role.

    A process refuses such a snapshot, unless its own environment has a SENTRY_DSN.
    """
    for role, values in facts.values_by_role.items():
        if facts.own.guard_rails.lacks_dsn(values):
            fix = facts.write("SENTRY_DSN=DSN")
            yield Sight(role, "the snapshot has no SENTRY_DSN", fix=fix)
