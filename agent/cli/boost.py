"""`boost`: more traces for a while."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import msgspec

from agent.cli import options
from agent.cli.answer import Answer
from agent.cli.ask import ask
from agent.cli.durations import seconds_of
from agent.cli.gather import gather
from agent.cli.lines import boost_line
from agent.cli.results import BoostResult, PassResult
from agent.operator import read_boost

if TYPE_CHECKING:
    from agent.settings import Loaded, Settings


@options.command("boost")
@click.option("--traces", metavar="RATE", help="The trace rate, from 0 to 1.")
@click.option(
    "--for", "duration", metavar="TIME", help="How long: 90s, 15m or 2h; at most 24h."
)
@click.option("--role", metavar="ROLE", help="Only in processes of this role.")
@click.option(
    "--match",
    metavar="NAME",
    help='Only for matching transactions, as "POST /checkout" or the name of a task.',
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
    listing: bool,
    end: str | None,
) -> Answer:
    """Raise the trace rate for a while. A boost ends by itself.

    For example:

    \b
        resentry-agent boost --traces 1.0 --for 15m --match "POST /checkout"
    """  # noqa: D301 - the mark keeps the example on one line
    if listing:
        return _list(loaded.settings)
    if end:
        return _ask(loaded.settings, {"command": "end", "id": end})
    if traces is None or duration is None:
        raise click.UsageError("a boost needs --traces and --for")
    request = {
        "command": "boost",
        "traces": traces,
        "seconds": seconds_of("--for", duration),
        "role": role,
        "match": match,
    }
    try:
        read_boost(request)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return _ask(loaded.settings, request)


def _ask(settings: Settings, request: dict[str, Any]) -> Answer:
    answer = ask(settings, request)
    fields = msgspec.to_builtins(answer.result)
    boosts = fields.pop("boosts")
    result = {"boosts": boosts, "done": msgspec.convert(fields, PassResult)}
    return replace(answer, result=msgspec.convert(result, BoostResult))


def _list(settings: Settings) -> Answer:
    current = gather(settings, is_asking=False).current
    boosts = current.boosts if current else []
    lines = tuple(map(boost_line, boosts)) or ("no boost is running",)
    return Answer(BoostResult(boosts=boosts, done=None), lines)
