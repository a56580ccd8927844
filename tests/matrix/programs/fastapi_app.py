"""A FastAPI application: each request reports one event."""

from __future__ import annotations

from captures import capture, start
from fastapi import FastAPI

start()
app = FastAPI()


@app.post("/event/{number}")
def event(number: int) -> str | None:
    return capture(number)
