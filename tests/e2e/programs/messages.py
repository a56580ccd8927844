"""A program that reports a message a hundred times a second, until it is ended."""

from __future__ import annotations

import itertools
import time

import sentry_sdk

import resentry

resentry.init(role="api")
for number in itertools.count():
    sentry_sdk.capture_message(f"message {number}")
    time.sleep(0.01)
