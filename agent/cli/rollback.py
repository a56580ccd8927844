"""`rollback`: back to an earlier revision, and hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.ask import ask

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("rollback")
@click.argument("revision", required=False)
@click.option(
    "--resume", is_flag=True, help="End the rollback: publish what the source holds."
)
def command(loaded: Loaded, *, revision: str | None, resume: bool) -> Answer:
    """Publish an earlier revision, and hold it.

    REVISION is one that history lists (default: the newest with other settings). The
    rollback is held across restarts. It ends with --resume, or by itself once every
    value that it undid has been changed at the source.
    """
    if resume and revision:
        raise click.UsageError("--resume takes no revision")
    if revision == "":  # a variable of a script that is not set
        raise click.UsageError("REVISION is empty; leave it out for the newest")
    name = "resume" if resume else "rollback"
    return ask(loaded.settings, {"command": name, "revision": revision})
