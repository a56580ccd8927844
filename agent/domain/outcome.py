"""The result of a pass, as one value with one sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from agent.domain.value import Value
from agent.domain.wishes import resume_hint
from agent.errors import CandidateRefused, CandidateWaits, RollbackHeld
from resentry.values import KEYS, STRUCTURED

if TYPE_CHECKING:
    from agent.domain.wishes import Held
    from agent.errors import AgentError
    from resentry.contract import Snapshot

_KEY = re.compile(r"\b(?:RE)?SENTRY_[A-Z_]+")

Kind = Literal["published", "unchanged", "held", "checking", "refused", "failed"]


class Outcome(Value, frozen=True):
    """The result of one pass. `once` exits with `exit_code`."""

    kind: Kind
    sentence: str
    revision: str | None = None
    sequence: int = 0
    notes: tuple[str, ...] = ()
    hint: str = ""
    exit_code: int = 0
    retry_soon: bool = False
    retry_after: float | None = None
    fingerprint: str | None = None
    """The fingerprint of a candidate that was refused or waits."""
    error: str = ""
    """The class of the error, if there was one."""
    reason: str = ""
    """The part of the sentence before what stays published, if there was an error."""
    refused: tuple[str, ...] = ()
    """The keys for which the candidate is refused; `dsn_check` or `other` without a key."""

    @classmethod
    def published(cls, snapshot: Snapshot, notes: tuple[str, ...]) -> Outcome:
        """A new snapshot is on the volume."""
        sentence = (
            f"published revision {snapshot.revision}, sequence {snapshot.sequence}"
        )
        return cls("published", sentence, snapshot.revision, snapshot.sequence, notes)

    @classmethod
    def unchanged(cls, snapshot: Snapshot, notes: tuple[str, ...]) -> Outcome:
        """The snapshot to publish is published already."""
        sentence = f"nothing new: revision {snapshot.revision} stays published"
        return cls("unchanged", sentence, snapshot.revision, snapshot.sequence, notes)

    @classmethod
    def held(
        cls, held: Held, read: Snapshot, current: Snapshot, notes: tuple[str, ...]
    ) -> Outcome:
        """A rollback is published instead of what was read."""
        return cls(
            "held",
            f"a rollback holds revision {held.snapshot.revision}: what the source holds is not published",
            current.revision,
            current.sequence,
            notes,
            hint=resume_hint(held.names_in(read)),
            exit_code=RollbackHeld.exit_code,
        )

    @classmethod
    def kept(cls, error: AgentError, current: Snapshot | None) -> Outcome:
        """The pass ended in an error, so the last good snapshot stays published."""
        waits = isinstance(error, CandidateWaits)
        fingerprint, refused = None, frozenset[str]()
        if isinstance(error, CandidateRefused | CandidateWaits):
            fingerprint = error.fingerprint
        if isinstance(error, CandidateRefused):
            refused = frozenset(map(_key_of, error.problems))
        stays = (
            f"revision {current.revision} stays published"
            if current
            else "nothing is published yet"
        )
        form = "candidate {} waits: " if waits else "candidate {} is refused: "
        reason = f"{form.format(fingerprint) if fingerprint else ''}{error.what}"
        return cls(
            "checking" if waits else "refused" if fingerprint else "failed",
            f"{reason}; {stays}",
            current.revision if current else None,
            current.sequence if current else 0,
            hint=error.hint,
            exit_code=error.exit_code,
            retry_soon=error.retry_soon,
            retry_after=error.retry_after,
            fingerprint=fingerprint,
            error=type(error).__name__,
            reason=reason,
            refused=tuple(sorted(refused)),
        )


def _key_of(problem: str) -> str:
    """Return the key that a problem of a candidate is about."""
    if problem.startswith("DSN check"):
        return "dsn_check"
    named = _KEY.search(problem)
    return named[0] if named and named[0] in (*KEYS, *STRUCTURED) else "other"
