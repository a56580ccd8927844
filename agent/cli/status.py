"""`status`: what is known, also when the agent is dead or hangs."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from agent.cli import options
from agent.cli.answer import NO, UNEXAMINED, Answer, named_error
from agent.cli.gather import copied, gather, why_unknown
from agent.cli.rotation_look import RotationLook, rotation_lines
from agent.cli.status_lines import plain, status_lines
from agent.domain.value import replace
from agent.observe.document import not_confirmed
from agent.observe.results import Error

if TYPE_CHECKING:
    from typing import NoReturn

    from agent.cli.status_lines import Paint
    from agent.settings import Loaded

WATCH_SECONDS = 2.0
"""The time between two looks of `--watch`."""
COLOURS: dict[str, dict[str, Any]] = {
    "ok": {"fg": "green"},
    "waiting": {"fg": "yellow"},
    "held": {"fg": "yellow"},
    "broken": {"fg": "red", "bold": True},
    "unknown": {"fg": "magenta"},
    "off": {"dim": True},
}
NOT_OF_NOW = Error(
    code="NotExamined",
    what="a volume that is read as it stands does not tell which processes live now",
    hint="run resentry-agent status beside the agent",
)
CLEAR = "\x1b[H\x1b[2J"


@options.command("status")
@click.option(
    "--from-volume",
    "volume",
    metavar="DIRECTORY",
    type=click.Path(exists=True, file_okay=False),
    help="Read this volume, a copy or one without an agent, and ask no agent.",
)
@click.option(
    "--watch",
    is_flag=True,
    help=f"Show the status again every {WATCH_SECONDS:g} s, until Ctrl-C.",
)
def command(loaded: Loaded, *, volume: str | None, watch: bool) -> Answer:
    """Show the chain from source to processes, and where it breaks.

    Then come the rates of each role and why, the processes, the DSNs, and what was lost.
    Asks the running agent, and reads the volume. Without an agent the volume alone tells,
    and the answer says of which moment it is. Exits with 0 if every process has confirmed
    the published snapshot, else with 1. With --from-volume, exits with 3 instead of 0: a
    copy does not tell which processes live now. A wrong setting hides nothing: defaults
    stand in its place, as in the agent, and the exit code is 78.
    """
    copied_at = None
    if volume is not None:
        settings, copied_at = copied(loaded.settings, volume)
        loaded = replace(loaded, settings=settings)
    with contextlib.closing(RotationLook(loaded.settings)) as rotations:
        if watch:
            _watch(loaded, copied_at, rotations)
        return _look(loaded, copied_at, rotations)


def _look(loaded: Loaded, copied_at: float | None, rotations: RotationLook) -> Answer:
    settings = loaded.settings
    status = gather(settings, copied_at=copied_at)
    if copied_at is None and loaded.problem is None:
        status = structs.replace(status, rotation=rotations.report())
    error, code = not_confirmed(status), NO
    why = why_unknown(settings)
    if copied_at is not None:
        why = f"{settings.dir} was read as it stands"
        if error is None:
            error, code = NOT_OF_NOW, UNEXAMINED
    lines = [*status_lines(status, why, _paint()), *rotation_lines(status.rotation)]
    if loaded.problem is not None:
        error, code = named_error(loaded.problem), loaded.problem.exit_code
        lines[:0] = [*Answer.of_error(loaded.problem).lines, ""]
    return Answer(status, tuple(lines), error, code if error else 0)


def _watch(
    loaded: Loaded, copied_at: float | None, rotations: RotationLook
) -> NoReturn:
    """Show the status again and again. Ctrl-C ends it."""
    if click.get_current_context().params["as_json"]:
        raise click.UsageError("--watch is for people: leave out --json, or use wait")
    while True:
        lines = _look(loaded, copied_at, rotations).lines
        clear = CLEAR if sys.stdout is not None and sys.stdout.isatty() else ""
        click.echo(clear + "\n".join(lines) + "\n")
        time.sleep(WATCH_SECONDS)


def _paint() -> Paint:
    """Return what colours a line: nothing, if NO_COLOR is set.

    Where standard output is no terminal, colours are taken out when a line is printed.
    """
    if os.environ.get("NO_COLOR"):  # noqa: TID251 - a convention, and no setting of ours
        return plain
    return lambda text, state: click.style(text, **COLOURS.get(state, {}))
