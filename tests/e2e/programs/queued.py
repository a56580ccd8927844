"""Queues a task outside of a trace and in two, and prints the trace headers of each.

The first argument says how Sentry is started: `plain` is sentry-sdk alone, with tracing off.
The second one is the SDK's trace mode: `static` for transactions, `stream` for spans.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import celery
import sentry_sdk
from sentry_sdk.integrations.celery import CeleryIntegration

import resentry

OPTIONS: dict[str, Any] = {
    "integrations": [CeleryIntegration()],
    "default_integrations": False,
    "auto_enabling_integrations": False,
}
IS_STREAMING = sys.argv[2] == "stream"
if IS_STREAMING:
    OPTIONS["trace_lifecycle"] = "stream"
if sys.argv[1] == "plain":
    sentry_sdk.init(dsn=os.environ["SENTRY_DSN"], **OPTIONS)
else:
    resentry.init(**OPTIONS)

app = celery.Celery(broker="memory://", set_as_current=False)


@app.task(name="grade")  # type: ignore[untyped-decorator]
def grade() -> None:
    """Do nothing."""


def queue() -> str | None:
    """Queue the task; return its trace header."""
    grade.apply_async()
    with app.connection_for_read() as connection:
        message = connection.SimpleQueue("celery").get(timeout=10)
        message.ack()
        found: str | None = message.headers.get("sentry-trace")
    return found


def shape(header: str | None) -> str | None:
    """Return the header's part that tells the decision: `-1`, `-0`, or none."""
    return header and "-".join(["", *header.split("-")[2:]])


def begin(name: str) -> Any:
    """Begin a trace."""
    if IS_STREAMING:
        sentry_sdk.traces.new_trace()
        return sentry_sdk.traces.start_span(name=name, parent_span=None)
    return sentry_sdk.start_transaction(name=name)


headers = [queue()]
for name in ("other", "checkout"):
    with begin(name):
        headers.append(queue())
headers.append(queue())
print(json.dumps([shape(header) for header in headers]))
