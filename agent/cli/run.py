"""`run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent import start
from agent.cli import options

if TYPE_CHECKING:
    from agent.settings import Loaded


@options.command("run", with_all_settings=True, is_warning=False)
def command(loaded: Loaded) -> None:
    """Keep every process at the newest snapshot, until SIGTERM.

    Reads the source again and again. SIGHUP makes it read at once. Once the volume holds a
    snapshot, the command does not end by itself, and starts whatever is wrong: it goes on
    with that snapshot, says what is wrong, and tries again.
    """
    start.run(loaded)
