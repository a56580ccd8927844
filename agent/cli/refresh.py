"""`refresh`: a pass now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.ask import ask

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


accept_older_option = click.option(
    "--accept-older",
    is_flag=True,
    help="Take what Vault holds, even if it is older than what was read before, as after "
    "Vault was restored from a backup.",
)


@options.command("refresh")
@accept_older_option
def command(loaded: Loaded, *, accept_older: bool) -> Answer:
    """Have the running agent do a pass now.

    Exits with the code that resentry-agent once would have.
    """
    return ask(loaded.settings, {"command": "refresh", "accept_older": accept_older})
