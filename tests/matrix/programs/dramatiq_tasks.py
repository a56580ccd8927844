"""The actor of the dramatiq workers: it reports one event."""

from __future__ import annotations

import os

import dramatiq
from captures import capture, start
from dramatiq.brokers.redis import RedisBroker
from sentry_sdk.integrations.dramatiq import DramatiqIntegration

start("api", DramatiqIntegration())
dramatiq.set_broker(RedisBroker(url=os.environ["BROKER_URL"]))


@dramatiq.actor
def work(item: int) -> None:
    capture(item)
