"""The Celery worker. `celery -A app.worker worker`."""

from __future__ import annotations

from typing import Any

import sentry_sdk
from celery import Celery, signals

from app.core.config import get_settings
from app.core.observability import init_sentry_for_celery

_url = get_settings().BROKER_URL
celery = Celery("lms", broker=_url, backend=_url)
celery.conf.broker_connection_retry_on_startup = True


@signals.celeryd_init.connect
def _start(**_: Any) -> None:
    # Here and not at import: the API imports this module to send tasks.
    init_sentry_for_celery()


@celery.task
def grade(student: int) -> str | None:
    """Grade a student's work; returns the id of the event that it reports."""
    return sentry_sdk.capture_message(f"graded {student}")


@celery.task
def fail(student: int) -> None:
    """Fail, as tasks do."""
    raise LookupError(f"there is no work of student {student}")
