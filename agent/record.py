"""What the daemon alone knows, in a file for `status` and for the next agent."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.domain.passes import Passes
from agent.domain.rejections import Rejections
from agent.domain.timeline import begun
from agent.domain.view import VOLUME, Problem, View
from agent.errors import AgentError
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent.domain.last import LastProcesses
    from agent.domain.rollout import Rollout
    from agent.domain.timeline import Timeline
    from agent.domain.view import Known
    from agent.publish.volume import Volume

TIMES_SECONDS = 10.0
"""The longest age of the times in the file, if passes come more often than that."""


class Record:
    """The state file. It may be lost without harm.

    Args:
        volume: where the file is.
        now: the monotonic time.

    """

    def __init__(self, volume: Volume, now: float) -> None:
        self._volume = volume
        self._began_at = now
        self.rejections = Rejections()
        self._passes = Passes(now)
        self._timeline: Timeline = ()
        self._last_processes: LastProcesses = ()
        self._last_accepted: Mapping[str, float] = {}
        self._noted: View | None = None
        self._told: tuple[Any, ...] = ()
        self._saved_at = now
        if (body := volume.memory.read(STATE)) is not None:
            self._resume(body, now)
        self.problems: tuple[Problem, ...] = ()
        """Why the file could not be written; else empty."""

    def _resume(self, body: bytes, now: float) -> None:
        """Go on where the earlier agent ended."""
        from agent.observe import document  # noqa: PLC0415 - a new pod's first pass needs none

        saved = document.decode_state(body)
        self.rejections = Rejections.from_document(saved.get("rejections"))
        self._passes = Passes.resumed(saved, now)
        self._timeline = document.timeline_of(saved)
        self._last_processes = document.last_processes_of(saved)
        self._last_accepted = document.last_accepted_of(saved)

    def first_view(
        self, known: Known, rollout: Rollout, source: Mapping[str, Any]
    ) -> View:
        """Return the view to begin with. It goes on where the earlier agent ended."""
        view = View(
            known,
            self._passes,
            self._began_at,
            rollout,
            source=source,
            timeline=self._timeline,
            last_processes=self._last_processes,
            last_accepted=self._last_accepted,
        )
        return begun(view, time.time())

    def note(self, view: View) -> None:
        """Take in what targets and DSN checks have rejected. Save the view if it is news."""
        if view is self._noted:
            return
        self._noted = view
        rejections = self.rejections.after(view)
        if rejections != self.rejections:
            self.rejections = rejections
            self.save(view)

    def save_pass(self, view: View) -> None:
        """Write the file after a pass. If the pass changed times alone, write it seldom."""
        now, told = time.monotonic(), _told(view)
        if self.problems or told != self._told or now >= self._saved_at + TIMES_SECONDS:
            self.save(view)
            self._told, self._saved_at = told, now

    def save(self, view: View) -> None:
        """Write the file. An error is a problem, as long as it lasts."""
        from agent.observe import document  # noqa: PLC0415 - as above

        saved = document.encode_state(view, self.rejections.document())
        try:
            self._volume.keep(STATE, saved, flush=False)
        except AgentError as error:
            self.problems = (Problem(VOLUME, error.what, error.hint),)
        else:
            self.problems = ()


def _told(view: View) -> tuple[Any, ...]:
    """Return what the file tells, without the times that each pass changes."""
    passes = view.passes
    counts = passes.outcome, passes.since, passes.failures
    return view.known.wishes, view.source, view.rollout.ends, view.reports, *counts
