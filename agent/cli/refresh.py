"""`refresh`: a pass now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli import options
from agent.cli.ask import ask

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("refresh")
def command(loaded: Loaded) -> Answer:
    """Have the running agent do a pass now.

    Exits with the code that resentry-agent once would have.
    """
    return ask(loaded.settings, {"command": "refresh"})
