"""Hides eventlet, which sentry-sdk imports wherever it is installed: a second each time."""

raise ImportError("no program here uses it")
