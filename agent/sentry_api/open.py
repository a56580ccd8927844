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
    needed = ("sentry_api", "sentry_organization", "sentry_project")
    missing = [name for name in needed if not getattr(settings, name)]
    token = credential(
        settings.sentry_token, settings.sentry_token_file, "sentry_token_file"
    ).strip()
    if missing or not token:
        missing += [] if token else ["sentry_token_file"]
        names = ", ".join(f"RESENTRY_{name.upper()}" for name in missing)
        raise SettingsError(
            f"what the API of Sentry needs is not set: {names}",
            f"set {names}; the token needs the scope {subject.scope}",
        )
    return SentryApi(settings.sentry_api, token, subject)
