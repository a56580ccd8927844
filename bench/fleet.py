"""What 1, 10 and 100 agents ask of one real server, and all their restarts at once.

Run by `make bench-fleet`. Prints two tables, writes bench/results/fleet.json, and exits 1
when an agent in the steady state asks for anything but its secret, or gets no answer.

Requests, and the server's own time for each, are from its audit log; its CPU time is the
kernel's. What a poll or a start takes is measured in the agent's thread: it also waits
for the other threads of its process, and for CPUs that the server uses as well. Agents on
machines of their own would ask for more in 100 ms than 100 of them on this one can.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import proc
from bench.audit import Audit
from bench.pollers import PROCESSES, SOON_SECONDS, Pollers
from bench.report import Section, measured, spread, table, write
from lab.logins import Logins
from lab.vault import ProductionVault

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = (1, 10, 100)
POLL_SECONDS = 1.0
STEADY_SECONDS = 16.0
IDLE_SECONDS = 5.0
JITTERS = (0.0, 0.2, 2.0)
WINDOW_SECONDS = 0.1

SECRET = "secret/data/lms"
KINDS = {
    ("read", SECRET): "reads",
    ("update", "auth/approle/login"): "logins",
    ("read", f"sys/internal/ui/mounts/{SECRET}"): "mounts",
    ("read", "auth/token/lookup-self"): "look_ups",
    ("update", "auth/token/renew-self"): "renewals",
}
STEADY = {
    "polls": "polls, one a second each",
    "requests_per_poll": "requests per poll",
    "others": "  not for the secret",
    "errors": "errors",
    "server_cpu_ms": "server CPU per poll (ms)",
    "server_ms.p99": "server's time, p99 (ms)",
    "poll_ms.p50": "poll takes, p50 (ms)",
    "poll_ms.p99": "poll takes, p99 (ms)",
}
START = {
    "requests_per_agent": "requests each",
    "errors": "errors",
    "peak": "most requests in 100 ms",
    "server_cpu_ms": "server CPU each (ms)",
    "server_ms.p99": "server's time, p99 (ms)",
    "start_ms.p50": "start takes, p50 (ms)",
    "start_ms.p99": "start takes, p99 (ms)",
    "all_ms": "all have started (ms)",
}

Figures = dict[str, Any]

SECTIONS = (
    Section(
        "fleet",
        "What many agents ask of one server",
        "One OpenBao over TLS; each agent polls it every second. "
        "[docs/scale.md](../docs/scale.md) says what that means for 1,000 to 100,000 pods.",
        {f"agents: {size}": f"steady/{size}/{{}}" for size in SIZES},
        {
            "polls": "polls",
            "requests_per_poll": "requests per poll",
            "others": "requests for anything but the secret",
            "errors": "errors",
            "server_cpu_ms": "server CPU per poll (ms)",
            "server_ms": "server's time per request (ms)",
            "poll_ms": "a poll takes (ms)",
        },
    ),
    *(
        Section(
            "fleet",
            f"{size} agents start at once",
            "The same server. Each start waits for a random time up to its jitter.",
            {
                f"jitter {jitter:g} s": f"start/{size}/{jitter:g}/{{}}"
                for jitter in JITTERS
            },
            {
                "requests_per_agent": "requests for each agent",
                "errors": "errors",
                "peak": "most requests in 100 ms",
                "server_cpu_ms": "server CPU for each agent (ms)",
                "server_ms": "server's time per request (ms)",
                "start_ms": "a start takes (ms)",
                "all_ms": "until all have started (ms)",
            },
        )
        for size in SIZES[-1:]
    ),
)


class Fleet:
    """One server, and agents at it that all log in by AppRole."""

    def __init__(self, vault: ProductionVault, folder: Path) -> None:
        self._vault = vault
        self._audit = Audit(vault)
        self._environ = Logins(vault, folder).approle() | {
            "RESENTRY_VAULT_ADDR": vault.address,
            "RESENTRY_VAULT_CA": str(vault.ca),
            "RESENTRY_VAULT_PATHS": SECRET,
            "RESENTRY_POLL_SECONDS": f"{POLL_SECONDS:g}",
        }

    def measure(self, size: int) -> tuple[Figures, dict[str, Figures]]:
        """Return the figures of the steady state, and of a start by its jitter."""
        starts = {}
        with Pollers(size, self._environ) as pollers:
            for jitter in JITTERS:
                pollers.do("prepare")
                starts[f"{jitter:g}"] = self._start(pollers, size, jitter)
            steady = self._steady(pollers)
            pollers.do("close")
        return steady, starts

    def idle_cpu_ms(self) -> float:
        """Return what the server uses in a second in which nobody asks."""
        cpu, began = self._cpu_ms(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        return (self._cpu_ms() - cpu) / (time.monotonic() - began)

    def _cpu_ms(self) -> float:
        return proc.usage(self._vault.process.pid).cpu_ns / 1e6

    def _start(self, pollers: Pollers, size: int, jitter: float) -> Figures:
        self._audit.calls()
        cpu, at = self._cpu_ms(), time.monotonic() + SOON_SECONDS
        reads = pollers.do("start", at, jitter)
        used, calls = self._cpu_ms() - cpu, self._audit.calls()
        return {
            "requests_per_agent": len(calls) / size,
            "errors": sum(bool(read.error) for read in reads),
            "peak": peak([call.at for call in calls], WINDOW_SECONDS),
            "server_ms": spread([1000 * call.seconds for call in calls]),
            "start_ms": spread([1000 * read.seconds for read in reads]),
            "all_ms": 1000 * (max(read.ended for read in reads) - at),
            "server_cpu_ms": used / size,
        }

    def _steady(self, pollers: Pollers) -> Figures:
        self._audit.calls()
        cpu = self._cpu_ms()
        reads = pollers.do("poll", time.monotonic() + STEADY_SECONDS)
        used, calls = self._cpu_ms() - cpu, self._audit.calls()
        kinds = Counter(
            KINDS.get((call.operation, call.path), "others") for call in calls
        )
        return {
            "polls": len(reads),
            "requests": dict(kinds),
            "requests_per_poll": len(calls) / len(reads),
            "others": len(calls) - kinds["reads"],
            "errors": sum(bool(read.error) for read in reads),
            "server_cpu_ms": used / len(reads),
            "server_ms": spread([1000 * call.seconds for call in calls]),
            "poll_ms": spread([1000 * read.seconds for read in reads]),
        }


def main() -> None:
    """Measure, print, write; exit 1 if the steady state asks for more than it should."""
    steady, starts = {}, {}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        ProductionVault() as vault,
    ):
        vault.write("lms", SENTRY_DSN="http://k@127.0.0.1:9/1", SENTRY_RELEASE="1")
        fleet = Fleet(vault, Path(folder))
        idle = fleet.idle_cpu_ms()
        for size in SIZES:
            say(f"{size} of them: three starts, then {STEADY_SECONDS:g} s of polls")
            steady[str(size)], starts[str(size)] = fleet.measure(size)
    result = {"measured": conditions(idle), "steady": steady, "start": starts}
    print(
        f"idle, the server uses {idle:.1f} ms of CPU a second: it is in all of these\n"
    )
    print(table({f"agents: {size}": found for size, found in steady.items()}, STEADY))
    for agents, by_jitter in starts.items():
        heads = {
            f"{agents}, jitter {jitter} s": one for jitter, one in by_jitter.items()
        }
        print(f"\n{table(heads, START)}")
    write("fleet", rounded(result))
    if wrong := broken(steady):
        sys.exit(f"More than one request for a poll: {'; '.join(wrong)}.")


def broken(steady: dict[str, Figures]) -> list[str]:
    """Say of each size that was not one answered request per poll what it was."""
    return [
        f"of {size}: {found['requests']} and {found['errors']} errors "
        f"in {found['polls']} polls"
        for size, found in steady.items()
        if found["others"] or found["errors"] or found["requests_per_poll"] != 1
    ]


def peak(times: Sequence[float], window: float) -> int:
    """Return how many of the times are within one window, at most."""
    ordered, first, most = sorted(times), 0, 0
    for last, moment in enumerate(ordered):
        while ordered[first] <= moment - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def rounded(found: Any) -> Any:
    """Return the figures without digits that mean nothing."""
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    return round(found, 2) if isinstance(found, float) else found


def conditions(idle: float) -> dict[str, Any]:
    """Say what the figures depend on."""
    return measured(
        over="TLS, one connection each; AppRole; one secret; server and agents here",
        processes=PROCESSES,
        poll_seconds=f"{0.8 * POLL_SECONDS:g} to {POLL_SECONDS:g}",
        steady_seconds=STEADY_SECONDS,
        server_idle_cpu_ms_per_second=idle,
        start="login, look-up of the mount, read; imported and set up before",
    )


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"==> {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
