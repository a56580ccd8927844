"""Sentry for the two kinds of process."""

from __future__ import annotations

import resentry


def init_sentry_for_api() -> None:
    """Start Sentry in a process that serves requests."""
    _init("api")


def init_sentry_for_celery() -> None:
    """Start Sentry in a Celery worker."""
    _init("celery")


def _init(role: str) -> None:
    resentry.init(role=role)
    status = resentry.status()
    if status["error"]:
        print(f"Failed to initialize Sentry: {status['error']}")
    else:
        print(f"Sentry ({role}): {status['values']['SENTRY_DSN']}")
