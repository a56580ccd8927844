"""`boost`: more traces for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options, wish
from agent.cli.durations import seconds_of
from agent.cli.lines import boost_line
from agent.tuning import read_boost

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("boost")
@click.option("--traces", metavar="RATE", help="The trace rate, from 0 to 1.")
@wish.scope
@click.option(
    "--keep-parent",
    is_flag=True,
    help="Let the decision of an upstream service stand.",
)
@click.option("--list", "listing", is_flag=True, help="List the running boosts.")
@click.option("--end", metavar="ID", help="End this boost now.")
def command(  # noqa: PLR0913 - one argument per option
    loaded: Loaded,
    *,
    traces: str | None,
    duration: str | None,
    role: str | None,
    match: str | None,
    keep_parent: bool,
    listing: bool,
    end: str | None,
) -> Answer:
    """Raise the trace rate for a while. A boost ends by itself.

    For example:

    \b
        resentry-agent boost --traces 1.0 --for 15m --match "POST /checkout"
    """  # noqa: D301 - the mark keeps the example on one line
    if listing:
        wish.must_be_alone("--list", end, traces, duration, role, match, keep_parent)
        return wish.listed(
            loaded.settings,
            lambda boosts, _: [*map(boost_line, boosts)] or ["no boost is running"],
        )
    if end:
        wish.must_be_alone("--end", traces, duration, role, match, keep_parent)
        return wish.end(loaded.settings, end)
    if traces is None or duration is None:
        raise click.UsageError("a boost needs --traces and --for")
    request = {
        "command": "boost",
        "traces": traces,
        "seconds": seconds_of("--for", duration),
        "role": role,
        "match": match,
        "keep_parent": keep_parent,
    }
    return wish.begin(loaded.settings, request, read_boost)
