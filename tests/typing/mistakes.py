"""What a type checker has to find: each line that is marked, and no other."""

from __future__ import annotations

import resentry
from resentry import resolve  # mistake
from resentry.testing import FakeVolume, Rule

resentry.init(role=3)  # mistake
resentry.init("api", "celery")  # mistake
resentry.status()["revsion"]  # mistake
resentry.show_dsn(None)  # mistake
sequence: str = resentry.status()["sequence"]  # mistake

with FakeVolume() as volume:
    volume.publish(rules=["GET /health"])  # mistake
    volume.swap(within="5")  # mistake
    Rule(pattern="GET /health", traces=0.0)  # mistake

resolve(None, "api", {})
