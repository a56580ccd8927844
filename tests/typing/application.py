"""What an application may write: no type checker has anything to say about it."""

from __future__ import annotations

import resentry
from resentry import Status
from resentry.testing import Boost, FakeVolume, Rule, Snapshot

resentry.init()
resentry.init("api")
resentry.init(role="celery", integrations=[], max_breadcrumbs=10)

found: Status = resentry.status()
role: str = found["role"]
error: str | None = found["error"]
parked: int = found["tally"]["parked"]
revision: str | None = resentry.revision()
dsn: str = resentry.show_dsn(resentry.settings("api")["SENTRY_DSN"])
why: str = str(resentry.explain("GET /pay", parent=True))
resentry.explain(error=ValueError, logger="app")
version: str = resentry.__version__
resentry.close()


def test_a_swap() -> None:
    """As in an application's own tests."""
    with FakeVolume(SENTRY_DSN="", SENTRY_ENVIRONMENT="test") as volume:
        rule = Rule(match="GET /health", traces=0.0)
        boost = Boost(id="b1", traces=1.0, until="2026-11-24T06:15:00Z")
        swapped: Snapshot = volume.swap(SENTRY_DSN="", rules=[rule], within=5)
        volume.publish(SENTRY_DSN="", boosts=[boost], roles={"celery": {}})
        assert swapped.revision == resentry.revision()
