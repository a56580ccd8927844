"""The job of the arq workers: it reports one event."""

from __future__ import annotations

import os

from arq.connections import RedisSettings
from captures import capture, start
from sentry_sdk.integrations.arq import ArqIntegration

start("api", ArqIntegration())


async def work(_context: dict[str, object], item: int) -> None:
    capture(item)


class WorkerSettings:
    functions = (work,)
    redis_settings = RedisSettings.from_dsn(os.environ["BROKER_URL"])
    poll_delay = 0.05
