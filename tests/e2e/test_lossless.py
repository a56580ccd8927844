"""A process under load takes twenty new configurations, and every event arrives once.

The environment and release of an event say to which project it belongs.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from lab.process import Process, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from lab.sink import Sink

pytestmark = pytest.mark.process


PROJECTS = (1, 2, 3)
NOTHING_SPECIAL = {
    "parked": 0,
    "rerouted": 0,
    "dropped": 0,
    "unknown": 0,
    "faults": 0,
}


def run(sink: Sink, tmp_path: Path, *options: str, within: float) -> dict[str, Any]:
    """Run `lab.load` among three projects; return what it says of itself."""
    command = [sys.executable, "-m", "lab.load", *map(sink.dsn, PROJECTS), *options]
    directory = tmp_path / "volume"
    directory.mkdir()
    environ = {**os.environ, "RESENTRY_DIR": str(directory)}
    with Process(command, env=environ) as process:
        eventually(lambda: not process.alive, within, "the end of the load")
        assert process.returncode == 0, process.log_text()
        lines = process.log_text().splitlines()
        said: dict[str, Any] = json.loads(next(x for x in lines if x[:1] == "{"))
        return said


def assert_lossless(sink: Sink, said: dict[str, Any]) -> None:
    """All that was captured has arrived once, where it belongs."""
    received = Counter(sink.event_ids())
    lost = [event for event in said["ids"] if not received[event]]
    strays = [
        event
        for event in sink.events() + sink.transactions()
        if (event.environment, event.release)
        != (f"env-{event.project - 1}", f"release-{event.project - 1}")
    ]
    assert lost == []
    assert received.total() == len(said["ids"])
    assert sink.duplicates() == 0
    assert strays == []
    assert said["counts"] == {kind: sink.count(kind) for kind in said["counts"]}
    assert said["tally"] == NOTHING_SPECIAL
    assert sink.client_reports() == {}
    assert all(sink.count("event", project) for project in PROJECTS)


@pytest.mark.timeout(600)
def test_ten_thousand_events_survive_twenty_swaps(sink: Sink, tmp_path: Path) -> None:
    """Of events, transactions, logs, metrics and sessions none is lost or doubled.

    What can be lost is what is under way at a swap, so more events would say no more.
    """
    said = run(sink, tmp_path, "--events", "10000", "--swaps", "20", within=590)

    assert_lossless(sink, said)
    assert len(said["ids"]) >= 10_000
    assert len(said["swap_ms"]) == 20


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("seconds", "events"), [("0.03", "1200"), ("0.15", "400")])
def test_nothing_is_lost_while_before_send_takes_its_time(
    sink: Sink, tmp_path: Path, seconds: str, events: str
) -> None:
    """Captures on their way in the old client arrive, also long after the swap."""
    options = ("--before-send", seconds, "--events", events, "--swaps", "20")
    said = run(sink, tmp_path, *options, within=280)

    assert_lossless(sink, said)
    assert len(said["swap_ms"]) == 20


@pytest.mark.timeout(300)
def test_twenty_swaps_under_load_leave_nothing_behind(
    sink: Sink, tmp_path: Path
) -> None:
    """Threads, descriptors and clients are as before, after each single swap."""
    said = run(sink, tmp_path, "--resources", "--events", "3000", within=280)

    assert [said["baseline"]] * 20 == said["resources"]
    assert said["baseline"]["clients"] == 1
    assert_lossless(sink, said)


@pytest.mark.timeout(300)
def test_memory_does_not_grow_with_swaps(sink: Sink, tmp_path: Path) -> None:
    """After the first hundred, each of nine hundred swaps keeps at most 4 kB."""
    options = ("--threads", "0", "--events", "0", "--swaps", "1000", "--memory")
    said = run(sink, tmp_path, *options, within=290)

    first, *_, last = said["memory_kb"]
    assert (last - first) / 900 <= 4
    assert_lossless(sink, said)
