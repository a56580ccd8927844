"""What a fork costs, beside plain sentry-sdk: `make bench-fork`.

One process each, of the same program: with `sentry_sdk.init`, and with `resentry.init`
that follows a volume. Both have sent an event, and both fork. They take turns, and each
figure is the median of all turns. Prints a table with both figures and their ratio, and
writes bench/results/fork.json.

    fork      os.fork in the parent, until it goes on
    runs      os.fork, until the child runs its first own line
    ends      os.fork, until a child that captures nothing has ended
    event     os.fork, until the child has sent its first event
    program   subprocess.run with a preexec_fn, of /bin/true: a fork with all hooks
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import sentry_sdk

import resentry
from bench import page
from bench.report import Section, measured, over_rounds, ratio, say, write
from lab.sink import Sink
from lab.swaps import publish, settings_for

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 8
EACH = 25
SUBJECTS = ("sentry-sdk", "resentry")
ROWS = {
    "fork": "os.fork, in the parent",
    "runs": "os.fork, until the child runs",
    "ends": "os.fork, until the child ended",
    "event": "os.fork, until its event is sent",
    "program": "subprocess.run, preexec_fn",
}

Figures = dict[str, list[float]]

SECTIONS = (
    Section(
        "fork",
        "What a fork costs",
        "A process with sentry-sdk alone, and one with the library, fork in turns.",
        {name: f"{{}}/{name}" for name in (*SUBJECTS, "ratio")},
        {row: f"{title} (ms)" for row, title in ROWS.items()},
    ),
)


def main() -> None:
    """Measure both, turn by turn; print and write each turn's medians and ratios."""
    found: dict[str, Figures] = {name: {row: [] for row in ROWS} for name in SUBJECTS}
    with Sink() as sink:
        for turn in range(TURNS):
            say(f"turn {turn + 1} of {TURNS}")
            for name in SUBJECTS:
                for row, values in run(name, sink.dsn(1)).items():
                    found[name][row].append(median(values))
    load = f"{TURNS} turns of {EACH} forks each"
    result = {"measured": measured(load=load), **report(found)}
    print(page.table(SECTIONS[0], result))
    write("fork", result)


def report(found: dict[str, Figures]) -> dict[str, dict[str, Any]]:
    """Return each row's turns in milliseconds, and what ours is to the other."""
    plain, ours = (found[name] for name in SUBJECTS)
    return {
        row: {
            SUBJECTS[0]: over_rounds(plain[row]),
            SUBJECTS[1]: over_rounds(ours[row]),
            "ratio": ratio(ours[row], plain[row]),
        }
        for row in ROWS
    }


def run(name: str, dsn: str) -> Figures:
    """Run one turn of one subject in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "bench.fork", name, dsn],
            env={**os.environ, "RESENTRY_DIR": folder},
            stdout=subprocess.PIPE,
            check=True,
        )
    figures: Figures = json.loads(done.stdout)
    return figures


# In the process that forks


def measure(name: str, dsn: str) -> Figures:
    """Start the subject as an application does, and time its forks."""
    settings = settings_for(1, dsn)
    if name == "resentry":
        folder = Path(os.environ["RESENTRY_DIR"])
        (folder / "receipts").mkdir()
        publish(folder, 1, settings)
        resentry.init(role="api")
    else:
        values = {key[7:].lower(): value for key, value in settings.items()}
        sentry_sdk.init(**values)
    sentry_sdk.capture_message("before")
    sentry_sdk.flush(10)
    time.sleep(1.2)  # what starts with the process has started
    figures: Figures = {row: [] for row in ROWS}
    for _ in range(EACH):
        parent, runs = fork(nothing)
        figures["fork"].append(parent)
        figures["runs"].append(runs)
        figures["ends"].append(ended(nothing))
        figures["event"].append(fork(event)[1])
        figures["program"].append(program())
    return figures


def nothing() -> None:
    """Do what the child of a benchmark does: nothing."""


def event() -> None:
    """Capture an event and send it."""
    sentry_sdk.capture_message("child")
    sentry_sdk.flush(10)


def fork(work: Callable[[], None]) -> tuple[float, float]:
    """Return the milliseconds until the parent goes on, and until the work is done."""
    heard, told = os.pipe()
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        work()
        # The same clock in all processes of one machine.
        os.write(told, str(time.perf_counter()).encode())
        os._exit(0)
    goes_on = time.perf_counter()
    done = float(os.read(heard, 99))
    os.waitpid(pid, 0)
    os.close(heard)
    os.close(told)
    return (goes_on - began) * 1000, (done - began) * 1000


def ended(work: Callable[[], None]) -> float:
    """Return the milliseconds until a child that does so has ended."""
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    return (time.perf_counter() - began) * 1000


def program() -> float:
    """Return the milliseconds of another program, started with a hook of Python's."""
    began = time.perf_counter()
    subprocess.run(["/bin/true"], preexec_fn=int, check=True)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*sys.argv[1:])))
    else:
        main()
