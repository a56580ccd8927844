"""Hides Django, which sentry-sdk imports wherever it is installed: half a second."""

raise ImportError("hidden")
