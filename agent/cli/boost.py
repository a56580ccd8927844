"""`boost`: more traces for a while."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.refresh import ask, show
from agent.cli.status import boost_text, gather

if TYPE_CHECKING:
    from agent.settings import Loaded

_UNITS = {"s": 1, "m": 60, "h": 3600}


@options.command("boost")
@click.option("--traces", help="The trace rate, from 0 to 1.")
@click.option("--for", "duration", help="How long: 90s, 15m, 2h; at most a day.")
@click.option("--role", help="Only in processes of this role.")
@click.option("--match", help='Only what fits, as "POST /checkout" or a task\'s name.')
@click.option("--list", "listing", is_flag=True, help="List the running boosts.")
@click.option("--end", metavar="ID", help="End a boost before its time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0913 - one argument per option
    loaded: Loaded,
    *,
    traces: str | None,
    duration: str | None,
    role: str | None,
    match: str | None,
    listing: bool,
    end: str | None,
    as_json: bool,
) -> None:
    """Raise the trace rate for a while; it ends by itself.

    For example: resentry-agent boost --traces 1.0 --for 15m --match "POST /checkout"
    """
    options.warn(loaded)
    if listing:
        _list(loaded, as_json=as_json)
        return
    if end:
        show(ask(loaded.settings, {"command": "end", "id": end}), as_json=as_json)
        return
    if traces is None or duration is None:
        raise click.UsageError("a boost needs --traces and --for")
    request = {
        "command": "boost",
        "traces": traces,
        "seconds": _seconds(duration),
        "role": role,
        "match": match,
    }
    show(ask(loaded.settings, request), as_json=as_json)


def _list(loaded: Loaded, *, as_json: bool) -> None:
    current = gather(loaded.settings)["current"]
    boosts = current["boosts"] if current else []
    if as_json:
        click.echo(json.dumps({"boosts": boosts}))
        return
    for boost in boosts:
        click.echo(boost_text(boost))
    if not boosts:
        click.echo("no boost is running")


def _seconds(duration: str) -> int:
    found = re.fullmatch(r"([0-9]{1,9})([smh])", duration)
    if not found:
        raise click.UsageError("--for must be a number with s, m or h, as 15m")
    return int(found[1]) * _UNITS[found[2]]
