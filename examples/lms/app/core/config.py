"""The application's settings. Sentry's come from resentry, so they are of now."""

from __future__ import annotations

import os
from types import SimpleNamespace

import resentry


def get_settings() -> SimpleNamespace:
    """Return the effective settings: newest snapshot, environment, default."""
    return SimpleNamespace(
        VERSION=os.environ.get("VERSION", ""),
        BROKER_URL=os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0"),
        **resentry.settings(),
    )
