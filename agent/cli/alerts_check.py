"""`alerts check`: whether Sentry holds what the file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli import options
from agent.cli.alerting import TO_APPLY, Outcome, answer_of, file_argument

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("alerts check")
@file_argument
def command(loaded: Loaded, *, file: str) -> Answer:
    """Say whether Sentry holds the alert rules of a file.

    Exits with 0 if it does, and with 1 if something differs, as after a change on Sentry's
    page. Changes nothing. The token needs the scope alerts:read, and org:read if the file
    names an integration.
    """
    from agent.alerts.plan import plan  # noqa: PLC0415 - heavy
    from agent.alerts.rule_file import read  # noqa: PLC0415 - heavy
    from agent.alerts.server import opened  # noqa: PLC0415 - heavy

    rules, server = read(file), opened(loaded.settings)
    left = plan(rules, server.held(), server.app(rules.notify))
    return answer_of(Outcome(rules, left, hint=TO_APPLY))
