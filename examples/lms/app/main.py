"""The API. `uvicorn app.main:api --workers 2`."""

from __future__ import annotations

import os

import sentry_sdk
from fastapi import FastAPI

import resentry
from app.core.observability import init_sentry_for_api
from app.worker import grade

init_sentry_for_api()
api = FastAPI(title="LMS")


@api.get("/health")
def health() -> dict[str, object]:
    """Say which process answers, and what Sentry configuration it runs."""
    status = resentry.status()
    return {
        "pid": os.getpid(),
        "revision": status["revision"],
        "error": status["error"],
    }


@api.post("/enrol/{student}")
def enrol(student: int) -> dict[str, object]:
    """Enrol a student: reports a message, and has the work graded."""
    event = sentry_sdk.capture_message(f"enrolled {student}")
    return {"event": event, "task": grade.delay(student).id}


@api.get("/grades/{task}")
def graded(task: str) -> dict[str, object]:
    """Tell whether the work is graded, and which event that reported."""
    result = grade.AsyncResult(task)
    return {"ready": result.ready(), "event": result.result if result.ready() else None}


@api.get("/courses/{course}")
def course(course: int) -> None:
    """Fail, as code does."""
    raise LookupError(f"there is no course {course}")
