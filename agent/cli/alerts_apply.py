"""`alerts apply`: makes Sentry hold what the file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.alerting import answer_of, file_argument

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded

_TO_DELETE = "--delete also deletes what the file has no more"
_KEPT = "the server keeps something else than it was given: see what differs"


@options.command("alerts apply")
@file_argument
@click.option(
    "--delete", is_flag=True, help="Delete what is ours and no longer in the file."
)
def command(loaded: Loaded, *, file: str, delete: bool) -> Answer:
    """Make Sentry hold the alert rules of a file.

    Changes only what begins with the file's mark, as "[resentry lms]". It can be repeated:
    what is there is found by its name. In the end the server is read again. Exits with 0
    only if it then holds what the file says. The token needs the scope alerts:write, and
    org:read if the file names an integration.
    """
    from agent.alerts.plan import plan  # noqa: PLC0415 - heavy
    from agent.alerts.rule_file import read  # noqa: PLC0415 - heavy
    from agent.alerts.server import opened  # noqa: PLC0415 - heavy

    rules, server = read(file), opened(loaded.settings)
    held, app = server.held(), server.app(rules.notify)
    made = [
        change for change in plan(rules, held, app) if delete or change.verb != "delete"
    ]
    server.change(rules, app, held, made)
    left = plan(rules, server.held(), app)
    only_old = all(change.verb == "delete" for change in left)
    return answer_of(rules, left, made, _TO_DELETE if only_old else _KEPT)
