"""`alerts plan`: what would change in Sentry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli import options
from agent.cli.alerting import TO_APPLY, Outcome, answer_of, file_argument

if TYPE_CHECKING:
    from agent.cli.answer import Answer
    from agent.settings import Loaded


@options.command("alerts plan")
@file_argument
def command(loaded: Loaded, *, file: str) -> Answer:
    """Show what `alerts apply` would change in Sentry.

    FILE is a TOML file of alert rules; examples/lms/alerts.toml is one. The token needs
    the scope alerts:read, and org:read if the file names an integration.
    """
    from agent.alerts.plan import plan  # noqa: PLC0415 - heavy
    from agent.alerts.rule_file import read  # noqa: PLC0415 - heavy
    from agent.alerts.server import opened  # noqa: PLC0415 - heavy

    rules, server = read(file), opened(loaded.settings)
    left = plan(rules, server.held(), server.app(rules.notify))
    return answer_of(Outcome(rules, left, hint=TO_APPLY), is_question=False)
