"""What the library costs an application, beside plain sentry-sdk: `make bench-library`.

The same application in the environment of the guide's backend (requirements/example.txt),
once with `sentry_sdk.init`, once with `resentry.init` that follows a volume. Both take
turns in one run. A figure is the median of all turns; a p99 is the median of the p99 of
each hundred captures, as another process's minute would decide one of all captures. What
counts is the ratio of the two. PII is on in both, so that nothing is scrubbed, but for the
rows that say so. Times of an import are CPU time, which suffers less from a busy machine;
all others are by the clock. What it costs under requests is `bench.serving`'s.

Prints a table, writes bench/results/library.json, and exits 1 when a row is above what
the project's issue allows.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from bench import environment, fork, proc
from bench.application import Bench
from bench.report import Section, measured, say, spread, write
from lab.paths import REPOSITORY
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Mapping

RESULT = Path(__file__).parent / "results/library.json"
SUBJECTS = ("sentry-sdk", "resentry")

STARTS = 15
CAPTURE_PROCESSES = 3
CAPTURE_TURNS = 50
MESSAGES, ERRORS, BLOCK = 20, 14, 100
FORK_TURNS = 3
IDLE_SECONDS = 20


class Row(NamedTuple):
    """One figure of both: what it may be in ours, as a ratio or as a difference."""

    title: str
    times: float | None = None
    more: float | None = None


ROWS: Mapping[str, Row] = {
    "import": Row("import, CPU (ms)", 1.15),
    "init": Row("init (ms)", 1.15),
    "rss_init": Row("RSS after init (MB)", 1.15),
    "rss_event": Row("RSS after the first event (MB)", 1.15),
    "threads": Row("threads after the first event", more=1),
    "descriptors": Row("descriptors after the first event"),
    "waits": Row("idle: wake-ups a second", more=1),
    "cpu": Row("idle: CPU (ms a second)"),
    "message.p50": Row("capture_message, p50 (ms)", 1.15),
    "message.p99": Row("capture_message, p99 (ms)", 1.15),
    "error.p50": Row("capture_exception, nine frames, p50 (ms)", 1.15),
    "error.p99": Row("capture_exception, nine frames, p99 (ms)", 1.15),
    "scrubbed.p50": Row("the same with scrubbing, p50 (ms)", 1.25),
    "scrubbed.p99": Row("the same with scrubbing, p99 (ms)", 1.25),
    **{f"fork.{name}": Row(f"{title} (ms)", 1.15) for name, title in fork.ROWS.items()},
}

Found = dict[str, dict[str, list[float]]]
"""All values by row and subject."""
Figures = dict[str, dict[str, float]]

SECTIONS = (
    Section(
        "library",
        "What the library costs an application",
        "The same application with sentry-sdk alone, and with the library, in turns.",
        {name: f"figures/{{}}/{name}" for name in (*SUBJECTS, "ratio")},
        {name: row.title for name, row in ROWS.items()},
    ),
)


def main() -> None:
    """Measure, print, write; exit 1 if a row is above what is allowed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Sink() as sink:
        say("building an application's environment from requirements/example.txt")
        binaries = environment.build(
            Path(name), "requirements/example.txt", [REPOSITORY / "client"]
        )
        figures = measure(Bench(binaries / "python", Path(name), sink.dsn(1)))
    print(table(figures))
    write("library", {"measured": measured(), "figures": figures})
    if broken := above(figures):
        sys.exit(f"The library costs too much: {'; '.join(broken)}.")


def measure(bench: Bench) -> Figures:
    """Return every row: both figures, their ratio, and what is allowed."""
    found: Found = {row: {name: [] for name in SUBJECTS} for row in ROWS}
    say(f"{STARTS} starts of both")
    for _ in range(STARTS):
        for name in SUBJECTS:
            starts(bench, name, found)
    say(
        f"captures in {CAPTURE_PROCESSES} processes of both, with and without scrubbing"
    )
    for _ in range(CAPTURE_PROCESSES):
        captures(bench, found)
    say(f"forks, {FORK_TURNS} turns")
    for _ in range(FORK_TURNS):
        for name in SUBJECTS:
            for row, values in fork.run(name, bench.dsn).items():
                found[f"fork.{row}"][name] += values
    say(f"idle for {IDLE_SECONDS} s")
    idle(bench, found)
    return {row: judged(ROWS[row], values) for row, values in report(found).items()}


def report(found: Found) -> Figures:
    """Return each row's figure of both."""
    return {
        row: {
            name: p99(values) if row.endswith(".p99") else median(values)
            for name, values in sides.items()
        }
        for row, sides in found.items()
    }


def p99(values: list[float]) -> float:
    """Return the median of the p99 of each block; what is over at the end is left."""
    starts = range(0, len(values) - BLOCK + 1, BLOCK)
    return median(spread(values[at : at + BLOCK])["p99"] for at in starts)


def judged(row: Row, figures: dict[str, float]) -> dict[str, float]:
    """Return the figures, and their ratio where one is asked for."""
    plain, ours = (figures[name] for name in SUBJECTS)
    found = {SUBJECTS[0]: round(plain, 3), SUBJECTS[1]: round(ours, 3)}
    if row.times is not None:
        found["ratio"] = round(ours / plain, 3)
    return found


def starts(bench: Bench, name: str, found: Found) -> None:
    """A fresh process, until its first event is sent."""
    with bench.start(name) as one:
        for row in ("import", "init"):
            found[row][name].append(one.started[row])
        found["rss_init"][name].append(proc.memory(one.pid).rss * 1024 / 1e6)
        one.ask("message", 1)
        found["rss_event"][name].append(proc.memory(one.pid).rss * 1024 / 1e6)
        found["threads"][name].append(proc.threads(one.pid))
        found["descriptors"][name].append(len(os.listdir(f"/proc/{one.pid}/fd")))


def captures(bench: Bench, found: Found) -> None:
    """Some captures in one process, until they are sent; then in the next."""
    with contextlib.ExitStack() as stack:
        sides = [
            (name, pii, stack.enter_context(bench.start(name, pii=pii)))
            for pii in (True, False)
            for name in SUBJECTS
        ]
        for _, _, one in sides:
            one.ask("error", ERRORS)
        for turn in range(CAPTURE_TURNS):
            for name, pii, one in sides[:: 1 if turn % 2 else -1]:
                errors = one.ask("error", ERRORS)
                for share in ("p50", "p99"):
                    found[f"{'error' if pii else 'scrubbed'}.{share}"][name] += errors
                if pii:
                    times = one.ask("message", MESSAGES)
                    for share in ("p50", "p99"):
                        found[f"message.{share}"][name] += times


def idle(bench: Bench, found: Found) -> None:
    """Both at the same time, as they wake up seldom."""
    with contextlib.ExitStack() as stack:
        both = {name: stack.enter_context(bench.start(name)) for name in SUBJECTS}
        for one in both.values():
            one.ask("message", 1)
        time.sleep(2)  # what starts with the process has started
        before = {name: proc.usage(one.pid) for name, one in both.items()}
        time.sleep(IDLE_SECONDS)
        for name, one in both.items():
            now = proc.usage(one.pid)
            cpu = (now.cpu_ns - before[name].cpu_ns) / 1e6
            found["cpu"][name].append(cpu / IDLE_SECONDS)
            found["waits"][name].append((now.waits - before[name].waits) / IDLE_SECONDS)


def above(figures: Figures) -> list[str]:
    """Say which row is above what is allowed."""
    said = []
    for name, row in ROWS.items():
        found = figures[name]
        more = round(found[SUBJECTS[1]] - found[SUBJECTS[0]], 1)
        if row.times is not None and found["ratio"] > row.times:
            ratio = found["ratio"]
            said.append(f"{row.title} is {ratio:.2f} times, allowed is {row.times}")
        if row.more is not None and more > row.more:
            said.append(f"{row.title}: {more:g} more, allowed is {row.more}")
    return said


def cells(row: Row, figures: dict[str, float]) -> list[str]:
    """Return what a row's line says: both figures, ratio, and what is allowed."""
    ratio = f"{figures['ratio']:.2f}" if "ratio" in figures else ""
    may = f"{row.more:g} more" if row.more is not None else ""
    may = f"{row.times:.2f}" if row.times is not None else may
    return [*(f"{figures[name]:.4g}" for name in SUBJECTS), ratio, may]


def table(figures: Figures) -> str:
    """Return the figures for people."""
    lines = [["", *SUBJECTS, "ratio", "allowed"]]
    lines += [[row.title, *cells(row, figures[name])] for name, row in ROWS.items()]
    return "\n".join(
        f"{line[0]:52}" + "".join(f"{c:>12}" for c in line[1:]) for line in lines
    )


def markdown(figures: Figures) -> str:
    """Return the figures as the table of docs/library.md."""
    lines = [["", *SUBJECTS, "ratio", "allowed"], ["---", *["---:"] * 4]]
    lines += [[row.title, *cells(row, figures[name])] for name, row in ROWS.items()]
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    broken = "".join(f"- {said}\n" for said in above(figures))
    return f"{text}\nAbove what is allowed:\n\n{broken}" if broken else text


if __name__ == "__main__":
    main()
