"""What every program here shares: how it starts Sentry, captures, and keeps account.

One line per captured event goes to the file MATRIX_IDS, appended by the process that
captured it: item, event id, process id, and between which moments it was captured.
"""

from __future__ import annotations

import os
import time
from typing import Any

import sentry_sdk

IS_PLAIN = os.environ["MATRIX_SDK"] == "plain"


def start(role: str = "api", **options: Any) -> None:
    """Start the library, or sentry-sdk alone: that is the only difference."""
    if IS_PLAIN:
        sentry_sdk.init(traces_sample_rate=1.0, **options)
    else:
        import resentry  # noqa: PLC0415 - a program of the SDK alone never sees it

        resentry.init(role=role, **options)


def capture(item: object) -> str | None:
    """Report one event for an item of work; return its id."""
    began = time.monotonic()
    event = sentry_sdk.capture_message(f"work {item}")
    line = f"{item} {event} {os.getpid()} {began} {time.monotonic()}\n"
    # Opened each time: some programs close every descriptor that they have.
    file = os.open(os.environ["MATRIX_IDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)
    return event
