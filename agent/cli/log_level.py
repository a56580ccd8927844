"""`log-level`: more or less of the running agent's log, until its restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from agent.call import ANSWER_SECONDS, LOG_LEVEL, call
from agent.cli import options
from agent.cli.answer import Answer
from agent.cli.results import LogLevelResult
from agent.errors import RequestUnknown
from agent.settings import Settings, settings_of

if TYPE_CHECKING:
    from agent.settings import Loaded


LEVELS = next(
    each.choices for each in settings_of(Settings) if each.name == "log_level"
)


@options.command("log-level")
@click.argument("level", type=click.Choice(LEVELS), required=False)
def command(loaded: Loaded, *, level: str | None) -> Answer:
    """Print the level of the running agent's log, or change it.

    Without LEVEL it is printed. After a restart, RESENTRY_LOG_LEVEL counts again.
    """
    request: dict[str, Any] = {"command": LOG_LEVEL, "level": level}
    reply = call(loaded.settings.control_path, request, ANSWER_SECONDS)
    try:
        result = msgspec.convert(reply, LogLevelResult)
    except msgspec.ValidationError:
        raise RequestUnknown from None
    more = (
        "" if result.level == result.at_start else f", {result.at_start} at its start"
    )
    return Answer(result, (f"the agent logs from level {result.level}{more}",))
