"""A WSGI shop: each order is booked, reported, and handed to another program.

gunicorn shop:shop
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import sentry_sdk

import resentry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

resentry.init(role="api")
books = os.open(os.environ["BOOKS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def shop(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """Place one order; answer with its event's id."""
    event = sentry_sdk.capture_message(environ["PATH_INFO"])
    subprocess.run(["true"], check=True)
    os.write(books, f"{event}\n".encode())
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(event).encode()]
