"""An API whose every request is a transaction and an error. `uvicorn bench.burst_app:api`."""

from __future__ import annotations

import os
import time

import sentry_sdk
from fastapi import FastAPI

import resentry

resentry.init(role="api")
api = FastAPI()


@api.get("/work")
def work() -> int:
    """Report an error; tell which process has done it. The tag is the time of the system."""
    sentry_sdk.set_tag("at", time.monotonic())
    sentry_sdk.capture_exception(TimeoutError("too slow"))
    return os.getpid()
