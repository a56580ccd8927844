"""Reads the journal of the rotations for `status` and `doctor`. It changes nothing."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from agent._version import __version__
from agent.errors import AgentError
from agent.observe.rotation_results import RotationReport
from resentry.contract import time_text

if TYPE_CHECKING:
    from agent.rotation.vault import JournalFile
    from agent.settings import Settings
    from agent.source.vault import VaultSource

SECONDS = 5.0
"""The limit of one look: `status` is for the time of an outage, too."""
GO_ON = "resentry-agent rotate --resume goes on, --abort goes back"


class RotationLook:
    """Looks at the newest rotation, again and again with one login.

    Without RESENTRY_ROTATION_PATH nothing is asked, and no client of Vault is loaded.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._source: VaultSource | None = None
        self._file: JournalFile | None = None

    def report(self) -> RotationReport | None:
        """Return what the journal says; `None` if no setting names one."""
        if not self._settings.rotation_path:
            return None
        try:
            return self._read()
        except AgentError as error:
            self.close()  # the next look logs in anew
            return RotationReport(error=error.what, hint=error.hint)

    def close(self) -> None:
        """Give back the token of an own login."""
        source, self._source, self._file = self._source, None, None
        if source is not None:
            with contextlib.suppress(AgentError):
                source.close()

    def _read(self) -> RotationReport:
        from agent.rotation.vault import JournalFile  # noqa: PLC0415 - heavy
        from agent.source.vault import VaultSource  # noqa: PLC0415 - heavy

        if self._source is None:
            self._source = VaultSource(self._settings, f"resentry-agent/{__version__}")
        seconds = min(SECONDS, self._settings.pass_seconds)
        self._source.limit(time.monotonic() + seconds)
        if self._file is None:
            self._file = JournalFile(self._source, self._settings.rotation_path)
        journal, _ = self._file.load()
        if journal is None:
            return RotationReport()
        is_carried_on = time.time() < journal.until and not journal.has_ended
        return RotationReport(
            rotation=journal.rotation,
            secret=journal.secret,
            role=journal.role,
            phase=journal.phase,
            since=time_text(journal.since, "seconds"),
            has_ended=journal.has_ended,
            held=journal.held,
            waits=journal.waits,
            holder=journal.holder if is_carried_on else "",
            deadline=None
            if journal.deadline is None
            else time_text(journal.deadline, "seconds"),
        )


def rotation_report(settings: Settings) -> RotationReport | None:
    """Look once."""
    with contextlib.closing(RotationLook(settings)) as look:
        return look.report()


def rotation_lines(report: RotationReport | None) -> tuple[str, ...]:
    """Return what `status` prints of a rotation: nothing if there was none."""
    if report is None or not (report.rotation or report.error):
        return ()
    if report.error:
        line = f"rotation: its journal cannot be read: {report.error}"
        return (line, f"  next: {report.hint}") if report.hint else (line,)
    line = f"rotation {report.rotation} of {report.secret} is {report.phase}"
    if report.deadline and not report.has_ended:
        line += f", leaked, due to be retired at {report.deadline}"
    if report.held:
        return (f"{line}, and held: {report.held}", f"  next: {GO_ON}")
    if report.has_ended:
        return (f"{line}, since {report.since}",)
    if not report.holder:
        text = "and no process carries it on: nothing is retired by itself"
        return (f"{line}, {text}", f"  next: {GO_ON}")
    return (f"{line}: {report.waits or 'it goes on'} ({report.holder})",)
