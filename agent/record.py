"""What the daemon alone knows, in a file for `status` and for the next agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.domain.passes import Passes
from agent.domain.rejections import Rejections
from agent.domain.view import VOLUME, Problem
from agent.errors import AgentError
from agent.observe import document
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from agent.domain.view import View
    from agent.publish.volume import Volume


class Record:
    """The state file. It may be lost without harm.

    Args:
        volume: where the file is.
        now: the monotonic time.

    """

    def __init__(self, volume: Volume, now: float) -> None:
        self._volume = volume
        saved = document.decode_state(volume.memory.read(STATE))
        self.rejections = Rejections.from_document(saved.get("rejections"))
        self.passes = Passes.resumed(saved, now)
        """The passes of the earlier agent, for this one to go on with."""
        self.problems: tuple[Problem, ...] = ()
        """Why the file could not be written; else empty."""

    def note(self, view: View) -> None:
        """Take in what targets and DSN checks have rejected. Save the view if it is news."""
        rejections = self.rejections.after(view)
        if rejections != self.rejections:
            self.rejections = rejections
            self.save(view)

    def save(self, view: View) -> None:
        """Write the file. An error is a problem, as long as it lasts."""
        saved = document.encode_state(view, self.rejections.document())
        try:
            self._volume.keep(STATE, saved, flush=False)
        except AgentError as error:
            self.problems = (Problem(VOLUME, error.what, error.hint),)
        else:
            self.problems = ()
