"""`status`: what is known, also when the agent is dead or hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli import options
from agent.cli.answer import NO, Answer
from agent.cli.gather import gather, why_unknown
from agent.cli.lines import status_lines
from agent.observe.document import not_confirmed

if TYPE_CHECKING:
    from agent.settings import Loaded


@options.command("status")
def command(loaded: Loaded) -> Answer:
    """Print what is published and which process runs it.

    Asks the running agent, and reads the volume. Without an agent the volume alone
    tells, and the answer says of which moment it is. Exits with 0 if every process has
    confirmed the published snapshot, else with 1.
    """
    status = gather(loaded.settings)
    error = not_confirmed(status)
    lines = status_lines(status, why_unknown(loaded.settings))
    return Answer(status, tuple(lines), error, NO if error else 0)
