"""Asks the running agent for something, and answers what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from agent import control
from agent.cli.answer import Answer, error_of
from agent.cli.results import RequestResult

if TYPE_CHECKING:
    from agent.settings import Settings

MORE_SECONDS = 10
"""How much longer than a pass an answer may take."""


def ask(settings: Settings, request: dict[str, Any]) -> Answer:
    """Send a request to the running agent. Its errors are raised."""
    seconds = settings.pass_seconds + MORE_SECONDS
    reply = control.call(settings.control_path, request, seconds)
    exit_code = int(reply.pop("code"))
    result = msgspec.convert(reply, RequestResult)
    notes = [f"  {line}" for line in (*result.notes, result.hint) if line]
    return Answer(
        result,
        (result.sentence, *notes),
        error_of(exit_code, result.sentence, result.hint),
        exit_code,
        is_failure=exit_code != 0,
    )
