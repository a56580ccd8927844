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

from bench.report import Section, measured, say, spread, table, write
from lab.sink import Sink
from lab.swaps import METHODS

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECTS = (1, 2, 3)
ROTATIONS = 20
# 8 threads that leave the process time for other work: some 300 events a second.
LOAD = ("--pause", "0.02", "--events", "4000")
# More captures are on their way in the old client at each of more rotations.
SLOW_ROTATIONS = 40
SLOW_LOAD = ("--before-send", "0.03", "--events", "2400")

ROWS = {
    "events": "events",
    "lost": "  lost",
    "duplicated": "  duplicated",
    "misrouted": "  misrouted",
    "others_lost": "  other items lost",
    "build_ms.p50": "build, p50 (ms)",
    "swap_ms.p50": "swap, p50 (ms)",
    "done_ms.p50": "old client done, p50 (ms)",
    "capture_ms.p50": "capture, p50 (ms)",
    "capture_ms.p99": "capture, p99 (ms)",
    "capture_ms.max": "capture, max (ms)",
    "threads": "threads at the end",
    "descriptors": "descriptors at the end",
    "slow.events": "events, before_send 30 ms",
    "slow.lost": "  lost",
    "slow.misrouted": "  misrouted",
}

SECTIONS = (
    Section(
        "swap",
        "What a swap costs and loses",
        "One process captures events from eight threads while its DSN changes: by the "
        "library, and by three ways that people use without it.",
        {"no swaps": "without_swaps/{}"}
        | {name: f"methods/{name}/{{}}" for name in METHODS},
        {row.replace(".", "/"): title for row, title in ROWS.items()},
    ),
)


def main() -> None:
    """Measure, print, write; exit 1 if the library has not delivered exactly."""
    with Sink() as sink:
        say("no swaps")
        without = run(sink, "resentry", 0, LOAD)
        methods = {}
        for method in METHODS:
            say(
                f"{method}, {ROTATIONS} rotations, then the same with a slow before_send"
            )
            methods[method] = run(sink, method, ROTATIONS, LOAD)
            methods[method]["slow"] = run(sink, method, SLOW_ROTATIONS, SLOW_LOAD)
    ours = methods["resentry"]
    exact = ("events", "lost", "duplicated", "misrouted")
    result = {
        **{name: ours[name] + ours["slow"][name] for name in exact},
        "rotations": ROTATIONS + SLOW_ROTATIONS,
        "measured": measured(
            load="8 threads; each 10th turn also a transaction, log, metric, session"
        ),
        "without_swaps": without,
        "methods": methods,
    }
    print(table({"no swaps": without, **methods}, ROWS))
    write("swap", result)
    if wrong := [name for name in exact[1:] if result[name]]:
        sys.exit(f"A swap must be exact, but events were {' and '.join(wrong)}.")


def run(sink: Sink, method: str, swaps: int, load: Sequence[str]) -> dict[str, Any]:
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
