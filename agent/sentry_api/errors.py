"""What can go wrong between a command and Sentry's web API.

                        exit   what comes next
SentryApiError          70     a person reads what the server says
├── SentryApiDown       69     the same is asked again soon
├── SentryApiDenied     77     a person gives another token
└── SentryApiAbsent     66     a person corrects the address, or the thing is gone
    ├── SentryApiGone   66     a person uses another version: this API has ended (410)
    └── SentryApiForeign 66    a person looks for a proxy or a login page between
"""

from __future__ import annotations

from agent.errors import AgentError


class SentryApiError(AgentError):
    """Sentry's API did not do what was asked for."""


class SentryApiDown(SentryApiError):
    """The API does not answer now. Nobody knows whether it did what was asked for."""

    exit_code = 69
    retry_soon = True


class SentryApiDenied(SentryApiError):
    """The API refuses this token."""

    exit_code = 77


class SentryApiAbsent(SentryApiError):
    """There is no such API at this address, or no such thing in it."""

    exit_code = 66


class SentryApiGone(SentryApiAbsent):
    """The server has ended this API. It does not say whether the thing exists."""


class SentryApiForeign(SentryApiAbsent):
    """What answers is not Sentry's API. It does not say whether the thing exists."""
