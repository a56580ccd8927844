"""What proved bad after it was published: no rollback goes back to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.domain.dsn_check import DsnReport

REMEMBERED = 10
"""So many of each kind, the newest."""


@dataclass(frozen=True, slots=True)
class Rejections:
    """Revisions that a target could not apply, and DSNs that their server rejected.

    A revision is that of the snapshot without boosts; a DSN is named by fingerprint.
    """

    revisions: tuple[str, ...] = ()
    dsns: tuple[str, ...] = ()

    def with_revision(self, revision: str) -> Rejections:
        """Return these with one more revision."""
        return replace(self, revisions=_newest((*self.revisions, revision)))

    def judged(self, reports: Iterable[DsnReport]) -> Rejections:
        """Return these as the newest verdicts on DSNs have it."""
        dsns = self.dsns
        for report in reports:
            if report.verdict == "rejected":
                dsns = _newest((*dsns, report.fingerprint))
            elif report.verdict == "accepted":
                dsns = tuple(name for name in dsns if name != report.fingerprint)
        return replace(self, dsns=dsns)

    def document(self) -> dict[str, list[str]]:
        """Return what `from_document` reads."""
        return {"revisions": list(self.revisions), "dsns": list(self.dsns)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Rejections:
        """Read a document; what cannot be read is no rejection."""
        try:
            found = document or {}
            kept = [
                tuple(map(str, found.get(name, ()))) for name in ("revisions", "dsns")
            ]
        except (AttributeError, TypeError):
            return cls()
        return cls(*map(_newest, kept))


def _newest(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[-REMEMBERED:]
