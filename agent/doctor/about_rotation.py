"""Rules about a rotation that has not ended: its journal stands in Vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.doctor.rule import Sight, SkippedError, UnknownError, rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.doctor.facts import Facts
    from agent.observe.rotation_results import RotationReport

_FIX = (
    "see how far it is: `resentry-agent rotate --watch`; then go on: "
    "`resentry-agent rotate --resume`, or back to the old DSN: `resentry-agent rotate --abort`"
)
_NOBODY = "nobody looked"
_CAUSES = ("RSN101", "RSN201", "RSN202")


def _unfinished(facts: Facts) -> RotationReport:
    """Return the rotation that is under way. Without one the rule does not apply."""
    if not facts.settings.rotation_path:
        raise SkippedError("no setting names a journal (RESENTRY_ROTATION_PATH)")
    _ = facts.source  # skipped with --offline
    report = facts.status.rotation
    if report is None or report.error:
        why = (
            "; ".join(filter(None, (report.error, report.hint))) if report else _NOBODY
        )
        raise UnknownError(f"the journal of the rotations cannot be read: {why}")
    return report


@rule(
    "RSN251",
    "rotation-held",
    "warning",
    "rotation",
    "A rotation is held, and a person has to decide",
    fix=_FIX,
    causes=_CAUSES,
)
def held(facts: Facts) -> Iterator[Sight]:
    """Read the journal at RESENTRY_ROTATION_PATH.

    A rotation is held when it has failed for half an hour, or when going on could lose
    events. Both keys live, and nothing leaves this state by itself. The journal says why.

    Wake who rotates keys at once if the old key has leaked: then this is an error. Else it
    can wait for the morning.
    """
    report = _unfinished(facts)
    if report.held:
        yield Sight(
            report.secret,
            f"rotation {report.rotation} is {report.phase}, and held: {report.held}",
            since=report.since or "",
            severity="error" if report.deadline else None,
        )


@rule(
    "RSN252",
    "rotation-left",
    "warning",
    "rotation",
    "A rotation has not ended, and no process carries it on",
    fix=_FIX,
    causes=_CAUSES,
)
def left(facts: Facts) -> Iterator[Sight]:
    """Look who holds the lock in the journal at RESENTRY_ROTATION_PATH.

    Whoever carried the rotation on has ended, and no other process has gone on for a
    minute. Both keys may live. What was done stands in the journal, so any process can go
    on. Until then no other rotation can begin.

    Wake who rotates keys at once if the old key has leaked: then this is an error. Else it
    can wait for the morning.
    """
    report = _unfinished(facts)
    if not (report.has_ended or report.held or report.holder):
        yield Sight(
            report.secret,
            f"rotation {report.rotation} is {report.phase}",
            since=report.since or "",
            severity="error" if report.deadline else None,
        )
