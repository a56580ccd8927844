"""What `boost` and `throttle` have in common: each asks the agent, and ends by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from agent.cli.answer import Answer
from agent.cli.ask import ask
from agent.cli.gather import must_be_published
from agent.cli.results import PassResult, WishResult
from agent.domain.value import replace
from agent.observe import tuning_document as tuning
from agent.publish.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.observe.tuning_results import Boost, Ceiling
    from agent.settings import Settings

Command = TypeVar("Command", bound="Callable[..., Any]")
_OPTIONS = (
    click.option(
        "--for",
        "duration",
        metavar="TIME",
        help="How long: 90s, 15m or 2h; at most 24h.",
    ),
    click.option("--role", metavar="ROLE", help="Only in processes of this role."),
    click.option(
        "--match",
        metavar="NAME",
        help='Only for matching transactions, as "POST /checkout" or the name of a task.',
    ),
)


def scope(function: Command) -> Command:
    """Add the options that say what it is for, and for how long."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def must_be_alone(option: str, *others: object) -> None:
    """Refuse what says how to begin, beside an option that begins nothing."""
    if any(other not in (None, False) for other in others):
        raise click.UsageError(f"{option} stands alone: it begins nothing")


def begin(
    settings: Settings,
    request: dict[str, Any],
    read: Callable[[dict[str, Any]], object],
) -> Answer:
    """Ask the agent to begin a boost or a ceiling; `read` finds slips before."""
    try:
        read(request)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    answer, result = _ask(settings, request)
    command = request["command"]
    newest = (result.boosts if command == "boost" else result.ceilings)[-1]
    how = f"to end it sooner: resentry-agent {command} --end {newest.id}"
    return replace(answer, lines=(*answer.lines, how))


def end(settings: Settings, id_: str) -> Answer:
    """Ask the agent to end one now."""
    return _ask(settings, {"command": "end", "id": id_})[0]


def listed(
    settings: Settings,
    lines: Callable[[Sequence[Boost], Sequence[Ceiling]], Sequence[str]],
) -> Answer:
    """Return what is running. The lines are for people.

    Raises `PublishError` if nothing is published: then nobody knows.
    """
    current = must_be_published(Volume(settings.dir, settings.receipts_dir))
    boosts, ceilings = tuning.boosts(current), tuning.ceilings(current)
    result = WishResult(boosts=boosts, ceilings=ceilings, done=None)
    return Answer(result, tuple(lines(boosts, ceilings)))


def _ask(settings: Settings, request: dict[str, Any]) -> tuple[Answer, WishResult]:
    answer = ask(settings, request)
    fields = msgspec.to_builtins(answer.result)
    lists = {name: fields.pop(name) for name in ("boosts", "ceilings")}
    done = msgspec.convert(fields, PassResult)
    result = msgspec.convert({**lists, "done": done}, WishResult)
    return replace(answer, result=result), result
