"""An API of which every request reports one event: `uvicorn web:api`."""

from __future__ import annotations

import sentry_sdk
from fastapi import FastAPI

import resentry

resentry.init(role="api")
api = FastAPI()


@api.post("/event/{number}")
def event(number: int) -> str | None:
    """Report, and answer with the event's id."""
    return sentry_sdk.capture_message(f"request {number}")
