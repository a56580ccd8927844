"""What a swap costs, beside what people do without the library: `make bench-swap`.

Prints a table, writes bench/results/swap.json, and exits 1 when the library has lost,
doubled or misrouted an event. All run on the same machine, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench import page
from bench.report import Section, measured, over_rounds, say, spread, write
from lab.sink import Sink
from lab.swaps import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECTS = (1, 2, 3)
ROUNDS = 3
ROTATIONS = 7
# 8 threads that leave the process time for other work: some 300 events a second.
LOAD = ("--pause", "0.02", "--events", "1400")
# More captures are on their way in the old client at each of more rotations.
SLOW_ROTATIONS = 14
SLOW_LOAD = ("--before-send", "0.03", "--events", "800")
EXACT = ("lost", "duplicated", "misrouted")
COUNTS = {"events", "others_lost", *EXACT}

Figures = dict[str, Any]

ROWS = {
    "events": "events",
    "lost": "  lost",
    "duplicated": "  duplicated",
    "misrouted": "  misrouted",
    "others_lost": "  other items lost",
    "build_ms/p50": "build, p50 (ms)",
    "swap_ms/p50": "swap, p50 (ms)",
    "done_ms/p50": "old client done, p50 (ms)",
    "capture_ms/p50": "capture, p50 (ms)",
    "capture_ms/p99": "capture, p99 (ms)",
    "capture_ms/max": "capture, max (ms)",
    "threads": "threads at the end",
    "descriptors": "descriptors at the end",
    "slow/events": "events, before_send 30 ms",
    "slow/lost": "  lost",
    "slow/misrouted": "  misrouted",
}

SECTIONS = (
    Section(
        "swap",
        "What a swap costs and loses",
        "One process captures events from eight threads while its DSN changes: by the "
        "library, and by three ways that people use without it, in turns.",
        {name: f"methods/{name}/{{}}" for name in ("no swaps", *METHODS)},
        ROWS,
    ),
)


def main() -> None:
    """Measure in turns, print, write; exit 1 if the library has not delivered exactly."""
    rounds: dict[str, list[Figures]] = {name: [] for name in ("no swaps", *METHODS)}
    with Sink() as sink:
        for number in range(1, ROUNDS + 1):
            say(f"round {number} of {ROUNDS}")
            rounds["no swaps"].append(run(sink, "resentry", 0, LOAD))
            for method in METHODS:
                found = run(sink, method, ROTATIONS, LOAD)
                found["slow"] = run(sink, method, SLOW_ROTATIONS, SLOW_LOAD)
                rounds[method].append(found)
    load = "8 threads; each 10th turn also a transaction, log, metric, session"
    result = {
        "measured": measured(
            load=load, rotations=ROUNDS * (ROTATIONS + SLOW_ROTATIONS)
        ),
        "methods": {name: merged(found) for name, found in rounds.items()},
    }
    print(page.table(SECTIONS[0], result))
    write("swap", result)
    ours = result["methods"]["resentry"]
    if wrong := [
        name
        for name in EXACT
        if any(each[name]["sum"] for each in (ours, ours["slow"]))
    ]:
        sys.exit(f"A swap must be exact, but events were {' and '.join(wrong)}.")


def merged(rounds: Sequence[Figures]) -> Figures:
    """Return the sums of what is counted, and the rest with its median and spread."""
    found: Figures = {}
    for row in rounds[0]:
        values = [one[row] for one in rounds]
        if isinstance(values[0], dict):
            found[row] = merged(values)
        else:
            counts = {"sum": sum(values), "rounds": values}
            found[row] = counts if row in COUNTS else over_rounds(values)
    return found


def run(sink: Sink, method: str, swaps: int, load: Sequence[str]) -> Figures:
    """Run the load once, and compare what it captured with what has arrived."""
    sink.reset()
    command = [sys.executable, "-m", "lab.load", *map(sink.dsn, PROJECTS), *load]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        done = subprocess.run(
            [*command, "--method", method, "--swaps", str(swaps)],
            env={**os.environ, "RESENTRY_DIR": folder},
            stdout=subprocess.PIPE,
            check=True,
        )
    said = json.loads(done.stdout)
    received = Counter(sink.event_ids())
    others = {kind: sink.count(kind) for kind in said["counts"]}
    return {
        "events": len(said["ids"]),
        "lost": sum(not received[event] for event in said["ids"]),
        "duplicated": sink.duplicates(),
        "misrouted": sum(
            (event.environment, event.release)
            != (f"env-{event.project - 1}", f"release-{event.project - 1}")
            for event in sink.events() + sink.transactions()
        ),
        "others_lost": sum(said["counts"].values()) - sum(others.values()),
        "build_ms": spread(said["build_ms"]),
        "swap_ms": spread(said["swap_ms"]),
        "done_ms": spread(said["done_ms"]),
        "capture_ms": spread(said["took_ms"]),
        "threads": said["left"]["threads"],
        "descriptors": said["left"]["descriptors"],
    }


if __name__ == "__main__":
    main()
