"""Makes the client of Sentry's web API from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.errors import SettingsError
from agent.sentry_api.client import SentryApi
from agent.source.login import credential

if TYPE_CHECKING:
    from agent.sentry_api.client import Subject
    from agent.settings import Settings


def open_api(settings: Settings, subject: Subject) -> SentryApi:
    """Return the client. Raises `SettingsError` or `SourceDenied` without what it needs."""
    for name in ("sentry_api", "sentry_organization", "sentry_project"):
        if not getattr(settings, name):
            raise SettingsError(
                f"RESENTRY_{name.upper()} is not set",
                "the API of Sentry needs its address, the organization and the project",
            )
    token = credential(
        settings.sentry_token, settings.sentry_token_file, "sentry_token_file"
    ).strip()
    return SentryApi(settings.sentry_api, token, subject)
