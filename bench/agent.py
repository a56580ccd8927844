"""What the agent costs, beside `bao agent` and the bare interpreter: `make bench`.

Prints a table, writes bench/results/agent.json, and exits 1 when the agent needs more
memory than the project's issue allows. Ratios mean something on other machines, too.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.report import Section
from bench.subjects import MEASURED_POLLS, STARTS, Subjects
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Mapping

# The project's issue sets both: every default feature on, over TLS. MB is 10^6 bytes.
GATES = {"rss_mb": 46.0, "anon_mib": 30.0}

RESULT = Path(__file__).parent / "results/agent.json"
ROWS = {
    "rss_mb": "memory, resident (MB)",
    "anon_mib": "memory, unshareable (MiB)",
    "threads": "threads",
    "start_ms": "start to first file (ms)",
    "cpu_ms_per_poll": "CPU per poll (ms)",
    "waits_per_poll": "times asleep per poll",
    "requests_per_poll": "requests per poll",
}
COLUMNS = {"agent": "agent", "bao_agent": "bao agent", "interpreter": "python -I"}
SECTIONS = (
    Section(
        "agent",
        "What the agent costs, beside its peers",
        "Each reads one secret over TLS every second and writes it to a file in memory.",
        {head: f"figures/{name}/{{}}" for name, head in COLUMNS.items()},
        ROWS,
    ),
)

Figures = dict[str, dict[str, float]]


def main() -> None:
    """Measure, print, write; exit 1 if a gate does not hold."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        ProductionVault() as vault,
    ):
        folder = Path(name)
        say("building the agent's own environment from requirements/agent.txt")
        binaries = environment.build(folder)
        figures = measure(Subjects(vault, binaries, folder))
        result = {
            "measured": conditions(vault.binary),
            "figures": rounded(figures),
            "agent_to": rounded(ratios(figures)),
            "gates": GATES,
        }
    print(table(figures))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    if broken := broken_gates(figures["agent"]):
        sys.exit(f"The agent is too large: {'; '.join(broken)}.")


def memory_folder() -> str | None:
    """Return where files are in memory, as a pod's volume is; None where nowhere."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def measure(subjects: Subjects) -> Figures:
    """Return every figure, by subject."""
    say(f"starting each of the three {STARTS} times, interleaved")
    starts = subjects.starts()
    say("the interpreter, idle")
    steady = {"interpreter": subjects.steady_interpreter()}
    say(f"the agent with one application, {MEASURED_POLLS} polls at one a second")
    steady["agent"] = subjects.steady_agent()
    say("bao agent, the same")
    steady["bao_agent"] = subjects.steady_bao_agent()
    return {
        name: {"start_ms": starts[name]} | found._asdict()
        for name, found in steady.items()
    }


def ratios(figures: Figures) -> Figures:
    """Return the agent's figures as multiples of each other subject's."""
    agent = figures["agent"]
    return {
        name: {row: agent[row] / found[row] for row in ROWS if found[row]}
        for name, found in figures.items()
        if name != "agent"
    }


def broken_gates(agent: Mapping[str, float]) -> list[str]:
    """Say of each gate that does not hold by how much."""
    return [
        f"{ROWS[row]} is {agent[row]:.1f}, allowed is {most:g}"
        for row, most in GATES.items()
        if agent[row] > most
    ]


def table(figures: Figures) -> str:
    """Return the figures for people, with the agent's ratios to the two others."""
    to = ratios(figures)
    to_bao, to_python = to["bao_agent"], to["interpreter"]
    heads = [*COLUMNS.values(), "to bao", "to python"]
    lines = ["".join([f"{'':26}", *(f"{head:>11}" for head in heads)])]
    for row, title in ROWS.items():
        cells = [f"{figures[name][row]:.1f}" for name in COLUMNS]
        cells += [f"{found.get(row, 0):.2f}" for found in (to_bao, to_python)]
        shown = (f"{cell if float(cell) else '-':>11}" for cell in cells)
        lines.append("".join([f"{title:26}", *shown]))
    return "\n".join(lines)


def conditions(binary: str) -> dict[str, Any]:
    """Say what the figures depend on."""
    version = subprocess.run(
        [binary, "version"], env={}, capture_output=True, text=True, check=True
    )
    return {
        "python": platform.python_version(),
        "bao": version.stdout.split(",")[0].strip(),
        "machine": f"{platform.system()} {platform.machine()}",
        "over": "TLS; the volume in memory; one secret, one application",
        "polls": MEASURED_POLLS,
        "starts": STARTS,
    }


def rounded(figures: Figures) -> Figures:
    """Return the figures without digits that mean nothing."""
    return {
        name: {row: round(value, 2) for row, value in found.items()}
        for name, found in figures.items()
    }


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"==> {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
