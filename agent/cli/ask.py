"""Asks the running agent for something, and answers what came of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from agent.call import answer_seconds, call
from agent.cli.answer import Answer, error_of
from agent.cli.results import RequestResult
from agent.errors import RequestUnknown

if TYPE_CHECKING:
    from agent.settings import Settings

MORE_SECONDS = 5
"""How much longer than the agent a command waits."""


def ask(settings: Settings, request: dict[str, Any]) -> Answer:
    """Send a request to the running agent. Its errors are raised."""
    request = {**request, "request_id": os.urandom(8).hex()}
    seconds = answer_seconds(request, settings.pass_seconds) + MORE_SECONDS
    reply = call(settings.control_path, request, seconds)
    try:
        exit_code = int(reply.pop("code"))
        result = msgspec.convert(reply, RequestResult)
    except (KeyError, TypeError, ValueError):
        raise RequestUnknown from None
    notes = [f"  {line}" for line in (*result.notes, result.hint) if line]
    return Answer(
        result,
        (result.sentence, *notes),
        error_of(exit_code, result.sentence, result.hint),
        exit_code,
        is_failure=exit_code != 0,
    )
