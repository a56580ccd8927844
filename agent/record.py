"""What the daemon alone knows, in a file for `status` and for the next agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.domain.passes import Passes
from agent.domain.rejections import Rejections
from agent.errors import AgentError
from agent.observe import document
from agent.publish.memory import STATE

if TYPE_CHECKING:
    from agent.domain.view import View
    from agent.publish.volume import Volume

log = structlog.get_logger()


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
        self._problem = ""

    def note(self, view: View) -> None:
        """Take in what targets and DSN checks have rejected. Save the view if it is news."""
        rejections = self.rejections.after(view)
        if rejections != self.rejections:
            self.rejections = rejections
            self.save(view)

    def save(self, view: View) -> None:
        """Write the file. An error is logged once, as long as it lasts."""
        saved = document.encode_state(view, self.rejections.document())
        problem = ""
        try:
            self._volume.keep(STATE, saved, flush=False)
        except AgentError as error:
            problem = error.what
            if problem != self._problem:
                log.warning(error.what, hint=error.hint)
        self._problem = problem
