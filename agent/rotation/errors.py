"""What stops a rotation beside the errors of Sentry's API."""

from __future__ import annotations

from agent.errors import AgentError


class PersonNeeded(AgentError):
    """Only a person can do the next step. The rotation waits until it is done."""

    exit_code = 73
