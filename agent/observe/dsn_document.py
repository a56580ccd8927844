"""The DSNs as JSON: their checks, and how their servers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.observe.results import DsnCheckReport, DsnUseReport
from resentry.contract import time_text

if TYPE_CHECKING:
    from agent.domain.answers import DsnUse
    from agent.domain.dsn_check import DsnReport


def time_or_null(moment: float | None) -> str | None:
    """Return a time as every document shows it."""
    return None if moment is None else time_text(moment)


def dsn_check_report(report: DsnReport) -> DsnCheckReport:
    """Return a check of a DSN as every document shows it."""
    return DsnCheckReport(
        dsn=report.dsn,
        verdict=report.verdict,
        settled=report.settled,
        since=time_or_null(report.since),
        answers=report.answers,
        sentence=report.sentence,
        fingerprint=report.fingerprint,
    )


def dsn_use_report(use: DsnUse) -> DsnUseReport:
    """Return how the server of a DSN answers as every document shows it."""
    return DsnUseReport(
        dsn=use.dsn,
        fingerprint=use.fingerprint,
        processes=dict(use.processes),
        since=time_or_null(use.since),
        accepted_at=time_or_null(use.accepted_at),
        sentence=use.sentence,
        hint=use.hint,
    )
