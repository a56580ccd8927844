"""What every program here shares: how it starts Sentry, captures, and keeps account.

One line per captured event goes to the file MATRIX_IDS, appended by the process that
captured it: item, event id, process id, and between which moments it was captured.
Where there is a file of that name with `.over`, no more should be captured.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import sentry_sdk

if TYPE_CHECKING:
    from sentry_sdk.integrations import Integration

IS_PLAIN = os.environ["MATRIX_SDK"] == "plain"


def start(role: str = "api", *integrations: Integration) -> None:
    """Start the library, or sentry-sdk alone: that is the only difference.

    Of the frameworks that are installed here an application has one, not all.
    """
    options: dict[str, Any] = {
        "auto_enabling_integrations": False,
        "integrations": integrations,
        # By default 2 s: less than a busy machine may need for the last event.
        "shutdown_timeout": 10,
    }
    if IS_PLAIN:
        sentry_sdk.init(traces_sample_rate=1.0, **options)
    else:
        import resentry  # noqa: PLC0415 - a program of the SDK alone never sees it

        resentry.init(role=role, **options)


def capture(item: object) -> str | None:
    """Report one event for an item of work; return its id."""
    began = time.monotonic()
    event = sentry_sdk.capture_message(f"work {item}")
    note("", f"{item} {event} {os.getpid()} {began} {time.monotonic()}")
    return event


def note(suffix: str, line: str) -> None:
    """Append a line to the account, or to another one beside it."""
    # Opened each time: some programs close every descriptor that they have.
    path = os.environ["MATRIX_IDS"] + suffix
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def is_over() -> bool:
    """Whether nothing more is to be captured, though the program runs on."""
    return os.path.exists(os.environ["MATRIX_IDS"] + ".over")
