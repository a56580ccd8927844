"""What the daemon starts after its first pass, and tries again."""

from __future__ import annotations

import json
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.call import LOG_LEVEL
from agent.domain.passes import Passes
from agent.domain.rollout import assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.observe.logs import LEVEL
from agent.services import Doors, Services
from lab.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.observe.metrics import Metrics
    from agent.settings import Settings

pytestmark = pytest.mark.server
VIEW = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
NOBODY: Doors = Doors(*[lambda *_: False] * len(Doors.__struct_fields__))  # type: ignore[arg-type, list-item]
NOBODY = replace(NOBODY, view=lambda: VIEW)


def test_a_file_in_the_place_of_the_receipts_is_not_watched(
    settings: Callable[..., Settings],
) -> None:
    """The pass says what is there: the node's inotify instances are not to blame."""
    made = settings(http_listen="off")
    receipts = Path(made.receipts_dir)
    receipts.parent.mkdir()
    receipts.touch()
    services = Services(made, "1", NOBODY)
    try:
        with capture_logs() as logs:
            services.tend()
        assert (logs, services.is_watching) == ([], False)
        receipts.unlink()
        receipts.mkdir()
        services.tend()
        assert services.is_watching
    finally:
        services.stop()


def test_findings_are_of_the_receipts_as_they_are_now(
    settings: Callable[..., Settings],
) -> None:
    """An idle agent draws a new view only with the next pass."""
    blind = assess([], None, late=False, unknown="too many files")
    doors = replace(
        NOBODY,
        read=lambda: replace(VIEW, rollout=blind),
        findings=lambda view: {"findings": [view.rollout.unknown]},
    )
    port = free_port()
    services = Services(settings(http_listen=f"127.0.0.1:{port}"), "1", doors)
    try:
        services.tend()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/findings") as answer:
            assert json.load(answer) == {"findings": ["too many files"]}
    finally:
        services.stop()


def test_no_scrape_reads_metrics_that_are_not_filled(
    settings: Callable[..., Settings],
) -> None:
    """One that comes while they are made waits: it would read that no pass has ended."""
    port = free_port()
    asked: list[Future[str]] = []

    def fill(metrics: Metrics) -> None:
        asked.append(pool.submit(scrape))
        wait(asked, 0.3)
        metrics.asked("refresh", "unchanged")

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return str(answer.read())

    made = settings(http_listen=f"127.0.0.1:{port}")
    with ThreadPoolExecutor() as pool:
        services = Services(made, "1", replace(NOBODY, fill=fill))
        services.stop()
        assert 'request="refresh"} 1.0' in asked[0].result()


def test_a_changed_log_level_is_counted_as_a_request(
    settings: Callable[..., Settings],
) -> None:
    """A question for the level is not."""
    services = Services(settings(http_listen="off"), "1", NOBODY)
    try:
        services._answer({"command": LOG_LEVEL, "level": None})
        assert b"resentry_requests_total{" not in services.metrics.render()
        services._answer({"command": LOG_LEVEL, "level": LEVEL.name})
        line = b'resentry_requests_total{outcome="changed",request="log_level"} 1.0'
        assert line in services.metrics.render()
    finally:
        services.stop()
