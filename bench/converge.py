"""How long from publishing a snapshot until the last of eight processes has proved it.

Run by `make bench-converge`: 200 rotations between two DSNs, published and signalled as
the agent does it, with eight processes on the same machine. Prints the whole and its
parts, and writes bench/results/converge.json.

    publish   the agent writes and switches the volume
    notify    a process notices, by inotify or the signal
    swap      it builds its new Sentry client and makes it current
    receipt   its receipt is on the volume

A file's time has the kernel's resolution of some 4 ms, so the parts do; the whole is the
last receipt's time against the clock before publishing.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.confirm.receipts import Receipts
from agent.notify.signal import Signals
from agent.publish.volume import Volume
from bench.report import Section, measured, write
from lab.process import Process, eventually
from lab.sink import Sink
from resentry.contract import DATA_LINK, Snapshot, revision_of

if TYPE_CHECKING:
    from agent.domain.rollout import LiveTarget

ROTATIONS = 200
PROCESSES = 8
GOAL_MS = 100.0
PROGRAM = "import resentry, time\nresentry.init(role='api')\ntime.sleep(3600)\n"
PARTS = ("publish", "notify", "swap", "receipt", "whole")

SECTIONS = (
    Section(
        "converge",
        "From publishing to the last of eight receipts",
        "The agent's own publisher and signals, and eight processes on one machine.",
        {"ms": "ms/{}"},
        {part: part for part in PARTS},
    ),
)


def snapshot(dsn: str) -> Snapshot:
    """A snapshot that differs from the other one in its DSN."""
    found = Snapshot({"SENTRY_DSN": dsn, "SENTRY_ENVIRONMENT": "bench"})
    return replace(found, revision=revision_of(found))


def epoch_ms(text: str) -> float:
    """A receipt's time in milliseconds since the epoch."""
    return datetime.fromisoformat(text).timestamp() * 1000


class Rotation:
    """One rotation after the other on a volume of their own."""

    def __init__(self, volume: Volume, receipts: Path) -> None:
        self._volume = volume
        self._folder = receipts
        self._receipts = Receipts(str(receipts))
        self._signals = Signals()

    def settled(self, current: Snapshot) -> list[LiveTarget] | None:
        """Return the targets if all of them run the snapshot and are drained."""
        targets = self._receipts.read()
        good = [
            target
            for target in targets
            if target.runs(current) and target.receipt.phase == "drained"
        ]
        return good if len(good) == PROCESSES else None

    def confirmed(self, current: Snapshot) -> list[tuple[LiveTarget, float]] | None:
        """Return each target with its receipt's time, once all run the snapshot."""
        targets = [found for found in self._receipts.read() if found.runs(current)]
        if len(targets) < PROCESSES:
            return None
        files = [self._folder / f"{found.receipt.id}.json" for found in targets]
        times = [file.stat().st_mtime_ns / 1e6 for file in files]
        return list(zip(targets, times, strict=True))

    def rotate(self, wanted: Snapshot) -> dict[str, float]:
        """Publish, and return the milliseconds of each part for the slowest process."""
        began = time.time() * 1000
        current = self._volume.publish(wanted)
        # The rename: what the agent does after it holds nobody up.
        link = Path(self._volume.directory, DATA_LINK)
        switched = link.lstat().st_ctime_ns / 1e6
        self._signals.notify(self._receipts.read())
        found = eventually(lambda: self.confirmed(current), 30, "eight receipts")
        last, written = max(found, key=lambda one: one[1])
        swapped = epoch_ms(last.receipt.since)
        noticed = swapped - last.receipt.swap_ms
        eventually(lambda: self.settled(current), 30, "eight drained")
        return {
            "publish": max(0.0, switched - began),
            "notify": max(0.0, noticed - switched),
            "swap": last.receipt.swap_ms,
            "receipt": max(0.0, written - swapped),
            "whole": written - began,
        }


def percentiles(values: list[float]) -> dict[str, float]:
    """Return p50, p99 and max."""
    cuts = statistics.quantiles(values, n=100)
    found = {"p50": cuts[49], "p99": cuts[98], "max": max(values)}
    return {name: round(value, 2) for name, value in found.items()}


def main() -> int:
    """Measure; return 1 if p99 of the whole misses the goal."""
    with ExitStack() as stack:
        sink = stack.enter_context(Sink())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        receipts = folder / "receipts"
        volume = Volume(str(folder), str(receipts))
        volume.open()
        wanted = [snapshot(sink.dsn(1)), snapshot(sink.dsn(2))]
        first = volume.publish(wanted[0])
        environ = {"PATH": "", "RESENTRY_DIR": str(folder)}
        for _ in range(PROCESSES):
            program = Process([sys.executable, "-c", PROGRAM], env=environ)
            stack.enter_context(program)
        rotation = Rotation(volume, receipts)
        eventually(lambda: rotation.settled(first), 60, "eight processes")
        print(f"{PROCESSES} processes run; {ROTATIONS} rotations ...")
        took = [rotation.rotate(wanted[turn % 2]) for turn in range(1, ROTATIONS + 1)]
        volume.close()
    figures = {part: percentiles([one[part] for one in took]) for part in PARTS}
    print(f"{'ms':9} {'p50':>8} {'p99':>8} {'max':>8}")
    for part in PARTS:
        cells = " ".join(f"{value:8.2f}" for value in figures[part].values())
        print(f"{part:9} {cells}")
    write(
        "converge",
        {
            "measured": measured(),
            "rotations": ROTATIONS,
            "processes": PROCESSES,
            "goal_ms": GOAL_MS,
            "ms": figures,
        },
    )
    return int(figures["whole"]["p99"] > GOAL_MS)


if __name__ == "__main__":
    sys.exit(main())
