"""A FastAPI application: each request reports one event."""

from __future__ import annotations

from captures import capture, start
from fastapi import FastAPI
from sentry_sdk.integrations.fastapi import FastApiIntegration
from sentry_sdk.integrations.starlette import StarletteIntegration

start("api", StarletteIntegration(), FastApiIntegration())
app = FastAPI()


@app.post("/event/{number}")
def event(number: int) -> str | None:
    return capture(number)
