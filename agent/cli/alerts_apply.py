"""`alerts apply`: makes Sentry hold what the file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.alerting import Outcome, answer_of, file_argument
from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.alerts.plan import Change
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
    planned = plan(rules, held, app)
    changes = [each for each in planned if delete or each.verb != "delete"]
    made: list[Change] = []
    try:
        # What was made before an error stays in the list.
        made.extend(server.change(rules, app, held, changes))
        left = plan(rules, server.held(), app)
    except AgentError as error:
        rest = [each for each in planned if each not in made]
        return answer_of(Outcome(rules, rest, made, error=error))
    only_old = all(change.verb == "delete" for change in left)
    hint = _TO_DELETE if only_old else _KEPT
    return answer_of(Outcome(rules, left, made, hint))
