"""A volume with one snapshot, and targets of one's own making."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from agent.publish.volume import Volume
from resentry.contract import Boost, Receipt, Rule, Snapshot, revision_of
from resentry.receipt import Identity

SETTINGS = {
    "SENTRY_DSN": "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42",
    "SENTRY_ENVIRONMENT": "production",
    "SENTRY_RELEASE": "lms@1.4.2",
    "SENTRY_SAMPLE_RATE": 1.0,
    "SENTRY_TRACES_SAMPLE_RATE": 0.1,
    "SENTRY_PROFILES_SAMPLE_RATE": 0.0,
    "SENTRY_SEND_PII": False,
    "SENTRY_ENABLE_FOR_CELERY": True,
}


def _snapshot() -> Snapshot:
    content = Snapshot(
        settings=SETTINGS,
        roles={"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}},
        rules=(Rule("GET /health", 0.0),),
        boosts=(Boost("b1", 1.0, "2026-11-24T06:15:00Z", "POST /checkout", "api"),),
    )
    where = {"source": "vault", "path": "secret/data/lms", "version": 7}
    return Snapshot(
        content.settings,
        content.roles,
        content.rules,
        content.boosts,
        dict.fromkeys(SETTINGS, where),
        revision_of(content),
    )


@pytest.fixture
def snapshot() -> Snapshot:
    return _snapshot()


@pytest.fixture
def published(volume: Volume, snapshot: Snapshot) -> Snapshot:
    return volume.publish(snapshot)


@pytest.fixture
def receipt() -> Callable[..., Receipt]:
    """Make a receipt of this process."""

    def make(**values: Any) -> Receipt:
        me = Identity()
        given = {
            "id": me.id,
            "role": "api",
            "pid": os.getpid(),
            "pidns": me.pidns,
            "start_time": me.start_time,
            **values,
        }
        return Receipt(**given)

    return make
