"""What `rq worker -c rq_settings` loads first."""

from captures import start
from sentry_sdk.integrations.rq import RqIntegration

start("api", RqIntegration())
