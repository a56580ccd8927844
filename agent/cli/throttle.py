"""`throttle`: fewer events for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options, wish
from agent.cli.durations import seconds_of
from agent.cli.lines import ceiling_line
from agent.tuning import read_ceiling

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("throttle")
@click.option("--traces", metavar="RATE", help="The highest trace rate, from 0 to 1.")
@click.option(
    "--errors", metavar="RATE", help="The highest rate of errors, from 0 to 1."
)
@wish.scope
@click.option("--list", "listing", is_flag=True, help="List the ceilings.")
@click.option("--end", metavar="ID", help="End this ceiling now.")
def command(  # noqa: PLR0913 - one argument per option
    loaded: Loaded,
    *,
    traces: str | None,
    errors: str | None,
    duration: str | None,
    role: str | None,
    match: str | None,
    listing: bool,
    end: str | None,
) -> Answer:
    """Put a ceiling over every rate for a while. A ceiling ends by itself.

    It bounds whatever else decides: rules, boosts, an upstream service, the application's
    own sampler. It never turns a no into a yes. For example:

    \b
        resentry-agent throttle --traces 0.01 --errors 0.2 --for 2h
    """  # noqa: D301 - the mark keeps the example on one line
    if listing:
        wish.must_be_alone("--list", end, traces, errors, duration, role, match)
        return wish.listed(
            loaded.settings,
            lambda _, ceilings: (
                [*map(ceiling_line, ceilings)] or ["there is no ceiling"]
            ),
        )
    if end:
        wish.must_be_alone("--end", traces, errors, duration, role, match)
        return wish.end(loaded.settings, end)
    if duration is None or (traces is None and errors is None):
        raise click.UsageError("a ceiling needs --traces or --errors, and --for")
    request = {
        "command": "throttle",
        "traces": traces,
        "errors": errors,
        "seconds": seconds_of("--for", duration),
        "role": role,
        "match": match,
    }
    return wish.begin(loaded.settings, request, read_ceiling)
