"""What the agent costs, beside its peers and the bare interpreter: `make bench-agent`.

Prints a table, writes bench/results/agent.json, and exits 1 when the agent needs more
memory than GATES allow. Ratios mean something on other machines, too.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment, page
from bench.peers import NAMES, Peers, built
from bench.report import Section, measured, over_rounds, ratio, say, write
from bench.subjects import (
    NEVER_SECONDS,
    POLL_SECONDS,
    ROUND_SECONDS,
    STARTS,
    Fleet,
    starts,
)
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.subjects import Rounds

GATES = {"rss_mb": 40.0, "anon_mib": 24.0}
"""What the agent may occupy, with every default feature over TLS. MB is 10^6 bytes."""
GOALS = {
    "rss_mb": "at most 40",
    "anon_mib": "at most 24",
    "start_ms": "1.2 times bao agent's",
    "startupz_cpu_ms": "at most 170",
    "cpu_ms_per_poll": "1.1 times bao agent's",
    "requests_per_poll": "1",
}
ROWS = {
    "start_ms": "start to first file (ms)",
    "start_cpu_ms": "  CPU until then (ms)",
    "startupz_ms": "start to /startupz (ms)",
    "startupz_cpu_ms": "  CPU until then (ms)",
    "rss_mb": "memory, resident (MB)",
    "anon_mib": "memory, not shareable (MiB)",
    "threads": "threads",
    "cpu_ms_per_poll": "CPU per poll (ms)",
    "waits_per_poll": "times asleep per poll",
    "requests_per_poll": "requests per poll",
    "idle_wakes_per_minute": "idle: times asleep a minute",
    "idle_cpu_ms_per_minute": "idle: CPU a minute (ms)",
}
COLUMNS = {**NAMES, "interpreter": "python -I"}
_FIGURES = {head: f"figures/{name}/{{}}" for name, head in COLUMNS.items()}
_RATIOS = {
    f"agent to {NAMES[name]}": f"ratios/{name}/{{}}"
    for name in ("bao_agent", "vault_agent", "consul_template")
}
SECTIONS = (
    Section(
        "agent",
        "What the agent costs, beside its peers",
        "Each reads a secret of its own over TLS every second, and writes it to a file. "
        "They start in turns. Then all of them run at the same time. The agent has one "
        "application that has confirmed. `vault agent` is Vault's auto-auth and template "
        "server in a smaller program ([why](../lab/peers/vault-agent/main.go)): the "
        "published program occupies more.",
        {**_FIGURES, "goal for the agent": "goals/{}"},
        ROWS,
        picture="agent.svg",
    ),
    Section(
        "agent",
        "The agent as a multiple of its peers",
        "The ratio of each round, from the same run.",
        _RATIOS,
        {row: title for row, title in ROWS.items() if not row.startswith("startupz")},
    ),
)

Figures = dict[str, dict[str, Any]]


def main() -> None:
    """Measure, print, write; exit 1 if a gate does not hold."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as installed,
        tempfile.TemporaryDirectory(prefix="bench-", dir=memory_folder()) as files,
        ProductionVault() as vault,
    ):
        say("building the agent's own environment from requirements/agent.txt")
        binaries = environment.build(Path(installed))
        programs, absent = built()
        peers = Peers(vault, binaries, Path(files), programs)
        names = [name for name in NAMES if name not in absent]
        rounds = measure(peers, vault, names)
    result = {
        "measured": measured(
            bao=version(vault.binary),
            over="TLS; files in memory; a secret each; one application",
            starts=STARTS,
            round_seconds=ROUND_SECONDS,
            absent="; ".join(f"{one}: {why}" for one, why in absent.items()),
        ),
        "figures": {
            name: {row: over_rounds(values) for row, values in found.items()}
            for name, found in rounds.items()
        },
        "ratios": ratios(rounds),
        "goals": GOALS,
        "gates": GATES,
    }
    write("agent", result)
    print(page.table(SECTIONS[0], result))
    print(page.table(SECTIONS[1], result))
    if broken := broken_gates(rounds["agent"]):
        sys.exit(f"The agent is too large: {'; '.join(broken)}.")


def memory_folder() -> str | None:
    """Return where files are in memory, as a pod's volume is; None where nowhere."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def measure(peers: Peers, vault: ProductionVault, names: Sequence[str]) -> Rounds:
    """Return what every round gave, by subject."""
    say(f"{STARTS} starts of each, in turns")
    found = starts(peers, names)
    with Fleet(peers, vault, names, POLL_SECONDS) as fleet:
        merge(found, fleet.steady())
    with Fleet(peers, vault, names, NEVER_SECONDS) as fleet:
        merge(found, fleet.idle())
    return found


def merge(found: Rounds, more: Rounds) -> None:
    """Add the rows of `more`."""
    for name, rows in more.items():
        found.setdefault(name, {}).update(rows)


def ratios(rounds: Rounds) -> Figures:
    """Return the agent's figures as multiples of each other's, round by round."""
    agent = rounds["agent"]
    return {
        name: {
            row: ratio(agent[row], values)
            for row, values in found.items()
            if row in agent and all(values)
        }
        for name, found in rounds.items()
        if name != "agent"
    }


def broken_gates(agent: Mapping[str, list[float]]) -> list[str]:
    """Say of each gate that does not hold by how much."""
    found = {row: statistics.median(agent[row]) for row in GATES}
    return [
        f"{ROWS[row]} is {found[row]:.1f}, allowed is {most:g}"
        for row, most in GATES.items()
        if found[row] > most
    ]


def version(binary: str) -> str:
    """Return what the server's program calls itself."""
    done = subprocess.run(
        [binary, "version"], env={}, capture_output=True, text=True, check=True
    )
    return done.stdout.split("(")[0].strip()


if __name__ == "__main__":
    main()
