"""What can go wrong between a rotation and the servers that it changes.

                        exit   what the rotation does next
KeyApiError
├── KeyApiDown           69    tries the same step again soon
├── KeyApiDenied         77    is held: a person gives it another token
└── KeyApiAbsent         66    is held: a person corrects the address
PersonNeeded             73    waits until a person has done the step
"""

from __future__ import annotations

from agent.errors import AgentError


class KeyApiError(AgentError):
    """The API of the client keys did not do what was asked for."""


class KeyApiDown(KeyApiError):
    """The API does not answer now. Nobody knows whether it did what was asked for."""

    exit_code = 69
    retry_soon = True


class KeyApiDenied(KeyApiError):
    """The API refuses this token."""

    exit_code = 77


class KeyApiAbsent(KeyApiError):
    """There is no API of client keys at this address, or no such project or key."""

    exit_code = 66


class PersonNeeded(AgentError):
    """Only a person can do the next step. The rotation waits until it is done."""

    exit_code = 73
