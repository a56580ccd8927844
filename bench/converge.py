"""How long from a write in Vault until the last process has confirmed: `make bench-converge`.

A real agent polls a real OpenBao over TLS, and 1 to 32 idle processes follow its volume, which
is in memory as in the manifests. Each rotation changes the DSN. Prints a table, writes
bench/results/converge.json, and exits 1 when p99 of `confirmed` misses the goal.

    poll       the agent's next poll is due; up to RESENTRY_POLL_SECONDS
    read       the agent reads the secret, and judges it: guard rails, DSN check
    publish    the agent writes the snapshot, and switches the volume to it
    notify     the slowest process notices, by inotify or the signal
    swap       that process builds its new Sentry client and makes it current
    receipt    its receipt is on the volume
    confirmed  the sum from `publish` on
    done       the sum of all

Vault's audit log says when the secret was written and read, the snapshot when the agent
began to publish it. All other times are those of an observer: it is told by inotify of
the switch and of each receipt, so its own delay is part of them.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from random import random
from typing import TYPE_CHECKING, Any

from bench.audit import Audit
from bench.observer import Observer, Seen
from bench.report import Section, measured, say, spread, table, write
from lab.process import Process, eventually
from lab.sink import Sink
from lab.system import SECRET, System
from lab.vault import ProductionVault
from resentry.contract import SETTINGS_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

ROTATIONS = {1: 30, 2: 30, 4: 30, 8: 120, 16: 30, 32: 30}
"""How many rotations, by the number of processes."""
JUDGED = 8
GOAL_MS = 25.0
POLL_SECONDS = 0.5
IN_MEMORY = "/dev/shm"
PROGRAM = "import resentry, time\nresentry.init(role='api')\ntime.sleep(3600)\n"
STEPS = ("poll", "read", "publish", "notify", "swap", "receipt")
PARTS = (*STEPS, "confirmed", "done")

SECTIONS = (
    Section(
        "converge",
        "From a write in Vault until the last process has confirmed",
        "A real agent polls a real OpenBao over TLS, and idle processes follow its volume. "
        "The columns are their number, each cell is in ms. `confirmed` is `publish` and "
        "all after it, `done` is all. A poll is due after half a second at most here; by "
        "default it is a minute.",
        {str(count): f"processes/{count}/ms/{{}}" for count in ROTATIONS},
        {part: part for part in PARTS},
    ),
)


class Rotation:
    """What was seen of one rotation by its number, and whether that is all."""

    def __init__(self, sequence: int, processes: int) -> None:
        self._sequence, self._processes = sequence, processes
        self.switch: Seen | None = None
        self.confirmed: dict[str, Seen] = {}
        self.drained: dict[str, Seen] = {}

    def take(self, seen: Iterator[Seen]) -> bool:
        """Take what is new; return whether the last process is confirmed and drained."""
        for one in seen:
            if one.body["sequence"] != self._sequence:
                continue
            if one.name == SETTINGS_FILE:
                self.switch = one
                continue
            self.confirmed.setdefault(one.name, one)
            if one.body["phase"] == "drained":
                self.drained.setdefault(one.name, one)
        return self.switch is not None and len(self.drained) == self._processes

    def parts(self, written: float, reads: list[float]) -> dict[str, float]:
        """Return the milliseconds of each part for the slowest process.

        Args:
            written: when Vault had answered the write.
            reads: when Vault was asked for the secret.

        """
        assert self.switch is not None
        began = epoch(self.switch.body["published_at"])
        last = max(self.confirmed.values(), key=lambda one: one.at)
        # Nobody notices before the switch: then the observer was late.
        first = min(self.switch.at, *map(noticed, self.confirmed.values()))
        switched = max(began, first)
        read = max(at for at in reads if at <= began)
        at = [written, read, began, switched, noticed(last), epoch(last.body["since"])]
        at.append(last.at)
        steps = [
            max(0.0, after - before) * 1000 for before, after in itertools.pairwise(at)
        ]
        found = dict(zip(STEPS, steps, strict=True))
        found["confirmed"] = (last.at - began) * 1000
        found["done"] = (last.at - written) * 1000
        return {name: round(value, 2) for name, value in found.items()}


def noticed(receipt: Seen) -> float:
    """Return when the process of this receipt began its swap."""
    return epoch(receipt.body["since"]) - float(receipt.body["swap_ms"]) / 1000


def epoch(text: str) -> float:
    """Return a time of the contract in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def measure(processes: int, rotations: int) -> list[dict[str, float]]:
    """Return the parts of each rotation of so many processes."""
    with ExitStack() as stack:
        volume = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY)))
        sink = stack.enter_context(Sink())
        vault = ProductionVault()
        environ = {"RESENTRY_POLL_SECONDS": str(POLL_SECONDS)}
        system = System(vault, RESENTRY_DIR=str(volume), **environ)
        stack.enter_context(system)
        system.write(SENTRY_DSN=sink.dsn(0))
        system.start_agent()
        eventually((volume / SETTINGS_FILE).exists, 30, "the first snapshot")
        observer = stack.enter_context(Observer(volume))
        first = Rotation(1, processes)
        first.switch = Seen(0.0, SETTINGS_FILE, {})
        for _ in range(processes):
            program = Process(
                [sys.executable, "-c", PROGRAM], env={"RESENTRY_DIR": str(volume)}
            )
            stack.enter_context(program)
        eventually(lambda: first.take(observer.new()), 120, f"{processes} processes")
        audit, found = Audit(vault), []
        for number in range(rotations):
            rotation = Rotation(number + 2, processes)
            audit.calls()
            time.sleep(
                random() * POLL_SECONDS
            )  # else all would wait as long for a poll
            system.write(SENTRY_DSN=sink.dsn(1 + number % 2))
            eventually(lambda: rotation.take(observer.new()), 30, "the last process")  # noqa: B023
            calls = [call for call in audit.calls() if call.path.endswith(SECRET)]
            write = next(call for call in calls if call.operation != "read")
            reads = [call.at for call in calls if call.operation == "read"]
            found.append(rotation.parts(write.at + write.seconds, reads))
        return found


def main() -> None:
    """Measure, print, write; exit 1 if p99 misses the goal."""
    figures: dict[str, Any] = {}
    for processes, rotations in ROTATIONS.items():
        say(f"{processes} processes, {rotations} rotations")
        rounds = measure(processes, rotations)
        columns = {part: [one[part] for one in rounds] for part in PARTS}
        figures[str(processes)] = {
            "rotations": rotations,
            "ms": {part: spread(values) for part, values in columns.items()},
            "rounds_ms": {part: columns[part] for part in ("confirmed", "done")},
        }
    shown = {
        f"{part}.{share}": f"{part}, {share} (ms)"
        for part in PARTS
        for share in ("p50", "p99")
    }
    print(table({count: one["ms"] for count, one in figures.items()}, shown))
    result: dict[str, Any] = {
        "measured": measured(load="idle processes that follow one volume")
    }
    result |= {"poll_seconds": POLL_SECONDS, "goal_ms": GOAL_MS, "processes": figures}
    write("converge", result)
    p99 = figures[str(JUDGED)]["ms"]["confirmed"]["p99"]
    if p99 > GOAL_MS:
        sys.exit(
            f"p99 of publish to confirmed is {p99} ms for {JUDGED} processes, "
            f"allowed are {GOAL_MS:g} ms."
        )


if __name__ == "__main__":
    main()
