"""What proved bad after it was published. A rollback never goes back to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.domain.value import Value, replace
from agent.domain.wishes import lasting_revision
from resentry.schema import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent.domain.dsn_check import DsnReport
    from agent.domain.view import View

REMEMBERED = 10
"""The number of revisions, and of DSNs, that are remembered: the newest."""


class Rejections(Value, frozen=True):
    """Revisions that a target could not apply, and DSNs that their server rejected.

    A revision is that of the snapshot without its boosts. A DSN stands as its fingerprint.
    """

    revisions: tuple[str, ...] = ()
    dsns: tuple[str, ...] = ()

    def after(self, view: View) -> Rejections:
        """Return the rejections after what a view shows."""
        current, rejections = view.known.current, self.judged(view.dsn_checks)
        if view.rollout.state == "refused" and current is not None:
            return rejections.with_revision(lasting_revision(current))
        return rejections

    def with_revision(self, revision: str) -> Rejections:
        """Return the rejections with one more revision."""
        return replace(self, revisions=_newest((*self.revisions, revision)))

    def judged(self, reports: Iterable[DsnReport]) -> Rejections:
        """Return the rejections after the newest verdicts of the DSN checks."""
        dsns = self.dsns
        for report in reports:
            if report.verdict == "rejected":
                dsns = _newest((*dsns, report.fingerprint))
            elif report.verdict == "accepted":
                dsns = tuple(name for name in dsns if name != report.fingerprint)
        return replace(self, dsns=dsns)

    def document(self) -> dict[str, list[str]]:
        """Return the rejections as a document, which `from_document` reads."""
        return {"revisions": list(self.revisions), "dsns": list(self.dsns)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Rejections:
        """Read a document. What cannot be read is no rejection."""
        given = document if isinstance(document, dict) else {}
        return cls(_texts(given.get("revisions")), _texts(given.get("dsns")))


def _texts(given: object) -> tuple[str, ...]:
    names = given if isinstance(given, list) else []
    return _newest(tuple(plain(name, 64) for name in names if isinstance(name, str)))


def _newest(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))[-REMEMBERED:]
