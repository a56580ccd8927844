"""Where the agent's start goes, and what it is spared: `make bench-profile`.

Imports what `run` imports, in its order, in the environment of production. CPU time and
memory are those of each step. Then the same, each time without one of the savings.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment, page
from bench.report import Section, measured, over_rounds, say, write

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS = 7
SCHEDULER = "apscheduler.schedulers.base"
STEPS = {
    "python": ("", "Python itself"),
    "settings": (
        "dataclasses msgspec logging calendar agent.settings",
        "msgspec, and the settings",
    ),
    "log": ("structlog agent.observe.logs", "structlog, and the log"),
    "agent": ("agent.daemon agent.parts", "the agent's modules, and the contract"),
    "urllib3": ("urllib3", "urllib3"),
    "requests": ("requests", "requests"),
    "hvac": ("hvac hvac.adapters", "hvac"),
    "source": ("agent.source.vault", "the source's modules"),
    "http": (
        "waitress agent.observe.http",
        "after it: waitress, and the health checks",
    ),
    "watch": ("agent.confirm.watch", "after it: watchdog"),
    "metrics": ("prometheus_client agent.observe.metrics", "after it: metrics"),
    "schedule": (f"{SCHEDULER} agent.schedule", "after it: APScheduler"),
    "services": ("agent.services", "after it: the rest"),
}
"""What is imported in each step, and its title. "After it" is after the first snapshot."""
SPARED = {
    "none": "with all savings",
    "dataclasses": "without: dataclasses look into no functions",
    "msgspec": "without: msgspec describes no types",
    "logging": "without: logging prints no tracebacks",
    "calendar": "without: the calendar speaks one language",
    "structlog": "without: structlog has no asyncio",
    "urllib3": "without: urllib3 reads no metadata",
    "requests": "without: requests guesses no encodings, has no authorities",
    "hvac": "without: hvac has no class for each kind of secret",
    "hvac.adapters": "without: hvac looks into no functions",
    "waitress": "without: waitress has no command line",
    SCHEDULER: "without: APScheduler has no pools and no plugins",
    "prometheus_client": "without: the metrics have no server of their own",
    "options": "without: no parser of options",
    "collector": "without: the collector is off at the start",
    "all": "without any of them",
}
"""The savings. Each row but the first lacks one of them."""
PROGRAM = """
import gc, sys, time
lacks, steps = sys.argv[1], sys.argv[2:]
def mark(name):
    with open("/proc/self/status") as file:
        anon = next(line.split()[1] for line in file if line.startswith("RssAnon"))
    print(name, time.process_time() * 1000, int(anon) / 1024, len(sys.modules))
mark("python")
if lacks not in ("collector", "all"):
    gc.disable()
if lacks in ("options", "all"):
    import agent.cli.run
from agent import lean
from importlib import import_module
for library in lean.LIBRARIES:
    if lacks in (library, "all"):
        lean.LIBRARIES[library] = {}
for step in steps:
    name, _, modules = step.partition(" ")
    for module in modules.split():
        if module in lean.LIBRARIES:
            lean.load(module)
        else:
            import_module(module)
    mark(name)
"""
SECTIONS = (
    Section(
        "profile",
        "Where the agent's start goes",
        "The imports of `run`, in their order: most of its start, and of its memory.",
        {
            "CPU (ms)": "steps/{}/cpu_ms",
            "memory, not shareable (MiB)": "steps/{}/anon_mib",
            "modules": "steps/{}/modules",
        },
        {name: title for name, (_, title) in STEPS.items()} | {"sum": "all of it"},
    ),
    Section(
        "profile",
        "What the agent's start is spared",
        "The same imports, each time without one of the savings "
        "([why, and how](../docs/adr/0031-run-imports-little-and-late.md)).",
        {
            "CPU (ms)": "savings/{}/cpu_ms",
            "memory, not shareable (MiB)": "savings/{}/anon_mib",
            "modules": "savings/{}/modules",
        },
        SPARED,
    ),
)
ROWS = ("cpu_ms", "anon_mib", "modules")
Marks = dict[str, tuple[float, ...]]


def main() -> None:
    """Measure, print, write."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        say("building the agent's own environment from requirements/agent.txt")
        python = environment.build(Path(folder)) / "python"
        say(f"{ROUNDS} rounds of the start's imports, without each saving in turn")
        rounds = [{name: marks(python, name) for name in SPARED} for _ in range(ROUNDS)]
    result = {
        "measured": measured(rounds=ROUNDS),
        "steps": steps([found["none"] for found in rounds]),
        "savings": {
            name: rows([found[name]["services"] for found in rounds]) for name in SPARED
        },
    }
    write("profile", result)
    for section in SECTIONS:
        print(page.table(section, result))


def marks(python: Path, lacks: str) -> Marks:
    """Return CPU time, memory and modules after each step, without that saving."""
    wanted = [f"{name} {modules}" for name, (modules, _) in STEPS.items() if modules]
    ran = subprocess.run(
        [python, "-I", "-c", PROGRAM, lacks, *wanted],
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = (line.split() for line in ran.stdout.splitlines())
    return {name: tuple(map(float, figures)) for name, *figures in lines}


def steps(rounds: Sequence[Marks]) -> dict[str, Any]:
    """Return what each step adds, over all rounds, and the sum."""
    found: dict[str, Any] = {}
    before = [(0.0,) * len(ROWS)] * len(rounds)
    for name in STEPS:
        after = [marks[name] for marks in rounds]
        pairs = zip(after, before, strict=True)
        found[name] = rows(
            [tuple(a - b for a, b in zip(*pair, strict=True)) for pair in pairs]
        )
        before = after
    return found | {"sum": rows(before)}


def rows(values: Sequence[tuple[float, ...]]) -> dict[str, Any]:
    """Return the spread of each figure."""
    return {
        row: over_rounds(column)
        for row, column in zip(ROWS, zip(*values, strict=True), strict=True)
    }


if __name__ == "__main__":
    main()
