"""A stand-in for Sentry's web API, held to Sentry's published description.

Sentry cannot be installed here. So each request and each answer is checked against the
structure of its OpenAPI description (tests/data/sentry-web-api.json, from
sentry-api-schema). It can also do what a real one does only on a bad day.

    server.py     HTTP, token and scopes, the checks, bad answers
    described.py  the description, as JSON Schema
    request.py    one request, as the parts below see it; the pages of a list
    keys.py       client keys
    alerts.py     monitors and alerts (detectors and workflows)
    releases.py   releases and their deploys
    issues.py     issues
"""

from lab.sentry_api.keys import Project
from lab.sentry_api.server import Fault, SentryApi

__all__ = ["Fault", "Project", "SentryApi"]
