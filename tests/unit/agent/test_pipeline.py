"""A pass: what waits for what."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agent.pipeline import GLANCE_SECONDS, Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from agent.parts import Parts

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/"


def test_the_first_publication_waits_for_no_dsn_check(
    parts: Callable[..., Parts], shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes wait for it. A later DSN is given the time for a first answer."""
    made = parts()
    waits: list[float] = []
    monkeypatch.setattr(
        made.gate, "glance", lambda *given: waits.append((*given, 0.0)[2]) or ()
    )
    pipeline = Pipeline(made)

    def a_pass(project: int) -> str:
        shelf.values = {"SENTRY_DSN": f"{DSN}{project}"}
        waits.clear()
        reading = pipeline.read(time.monotonic() + 5)
        return pipeline.publish(reading, pipeline.known.wishes).kind

    assert (a_pass(1), max(waits)) == ("published", 0.0)
    assert (a_pass(2), max(waits)) == ("published", GLANCE_SECONDS)
