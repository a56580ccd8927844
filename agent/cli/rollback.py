"""`rollback`: back to an earlier revision, and hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.refresh import ask, show

if TYPE_CHECKING:
    from agent.settings import Loaded


@options.command("rollback")
@click.argument("revision", required=False)
@click.option("--resume", is_flag=True, help="End it: publish what the source holds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    loaded: Loaded, *, revision: str | None, resume: bool, as_json: bool
) -> None:
    """Publish an earlier revision, and hold it.

    Without REVISION it is the one before. It is held across restarts, until --resume,
    or until the source no longer holds any value that was rolled back from.
    """
    options.warn(loaded)
    if resume and revision:
        raise click.UsageError("--resume takes no revision")
    request = {"command": "resume" if resume else "rollback", "revision": revision}
    show(ask(loaded.settings, request), as_json=as_json)
