"""Agents for a long time, under faults: what grows, what they say, what they miss.

Run by `make soak`: one agent a run, with everything on but HTTP receivers, polling five times
a second over TLS, three applications, and one fault after the other between it and its
Vault. All runs go on at once, each with a seed of its own. Prints a table for each, writes
bench/results/soak.json, and exits 1 when something grows or is not as it should be. The last
line of each run is its verdict.

Once a minute the agent's process itself counts its objects, and its memory after a collection
of garbage and `malloc_trim`. What is compared begins after twelve minutes, in which faults
come about twice as fast: caches are full then, and the heap has had its greatest size. A run
that ends before minute 32 finds what grows quickly, and allows more.

Requests are the agent's in the server's audit log, which has none that a sealed,
limiting or absent server refuses.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from typing import Any, Self

from bench import faults, flat, inside
from bench.audit import Audit
from bench.fleet import KINDS
from bench.meter import Meter
from bench.report import Section, measured, say, spread, write
from lab.logins import Logins
from lab.paths import REPOSITORY
from lab.process import eventually
from lab.proxy import Proxy
from lab.sink import Sink
from lab.system import SECRET, System
from lab.vault import ProductionVault

RECOVERED_SECONDS = 60.0

POLL_SECONDS = 0.2
PASS_SECONDS = 2.0
FAULT_SECONDS = 0.5, 5.0
HEALTHY_SECONDS = 2.0, 6.0
WARMING_FAULT_SECONDS = 0.5, 3.0
WARMING_HEALTHY_SECONDS = 0.5, 1.0
"""While warming up: twice the faults fill caches, and take the heap to its greatest size."""
LOOK_SECONDS = 60.0
"""Between two looks at what the agent holds."""
WHOLE_SECONDS = 1920.0
"""A run of that length replaces bench/results/soak.json."""
ROLES = ("api", "api", "celery")
RUNS = 3
SECTIONS = (
    Section(
        "soak",
        "Whether an agent grows",
        "Agents that poll five times a second over TLS for 32 minutes, with one fault after "
        "the other, and their own count of what they hold. The first count of each pair is "
        "taken from minute twelve on, when caches are full.",
        {f"seed {seed}": f"runs/{seed}/{{}}" for seed in range(1, RUNS + 1)},
        {
            "verdict": "verdict",
            "fault_count": "faults",
            "revisions": "revisions that all applications confirmed",
            "ends/warm/trimmed_kib": "Anon after `malloc_trim` (KiB)",
            "ends/end/trimmed_kib": "  at the end",
            "ends/warm/anon_kib": "Anon between two looks (KiB)",
            "ends/end/anon_kib": "  at the end",
            "ends/warm/blocks": "pieces of memory of Python's objects",
            "ends/end/blocks": "  at the end",
            "ends/warm/objects": "objects that can hold others",
            "ends/end/objects": "  at the end",
            "ends/end/descriptors": "descriptors",
            "ends/end/threads": "threads",
            "recovered_ms": "from a fault's end until all is well (ms)",
        },
        command="make soak",
    ),
)
TARGET = "import resentry, time; resentry.init(role={!r}); time.sleep(10**6)"


class Soak:
    """One agent and its applications, one fault after the other, a write now and then."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._written: dict[str, object] = {}
        self.writes = 0
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.recovered_ms: list[float] = []
        """From the end of a fault until every application ran what was written."""
        self.problems: list[str] = []
        self.looks: list[flat.Look] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._sink = stack.enter_context(Sink())
            self.system = stack.enter_context(
                System(
                    ProductionVault(),
                    RESENTRY_POLL_SECONDS=f"{POLL_SECONDS:g}",
                    RESENTRY_PASS_SECONDS=f"{PASS_SECONDS:g}",
                )
            )
            vault = self.system.vault
            proxy = stack.enter_context(Proxy(vault.address))
            del self.system.environ["RESENTRY_VAULT_TOKEN"]
            known = faults.of(self.system, proxy, self._rewrite)
            self._faults = faults.in_turns(known, self._chance)
            self._audit = Audit(vault)
            self._write()
            login = Logins(vault, self.system.folder).approle(token_ttl="20s")
            self._socket = self.system.folder / "inside"
            self._agent = self.system.spawn(
                *(sys.executable, "-m", "bench.inside", str(self._socket), "run"),
                ready=self.system.http_port,
                environ={
                    **login,
                    "RESENTRY_VAULT_ADDR": proxy.url,
                    "PYTHONPATH": str(REPOSITORY),
                },
            )
            for role in ROLES:
                self.system.spawn(sys.executable, "-c", TARGET.format(role))
            self._await_recovery()
            self._audit.calls()
            self.meter = stack.enter_context(Meter(self.system, self._agent))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, seconds: float) -> None:
        """Go on for so long, and to the end of the fault that is then under way."""
        until = time.monotonic() + seconds
        warm = time.monotonic() + flat.warm_after(seconds)
        every = min(LOOK_SECONDS, seconds / 18)
        while time.monotonic() < until and not self.problems:
            is_warm = time.monotonic() > warm
            self._wait(HEALTHY_SECONDS if is_warm else WARMING_HEALTHY_SECONDS)
            self._count_requests()
            at = time.monotonic() - self.meter.began
            if not self.looks or at >= self.looks[-1].at + every:
                self._look(at)
            self._suffer(
                next(self._faults),
                FAULT_SECONDS if is_warm else WARMING_FAULT_SECONDS,
            )
        self._wait(HEALTHY_SECONDS)
        if not self._agent.alive:
            self.problems = ["the agent has ended"]

    def _look(self, at: float) -> None:
        look = flat.Look(at, inside.ask(self._socket))
        self.looks.append(look)
        counts = ", ".join(f"{name} {count}" for name, count in look.counts().items())
        say(f"seed {self._seed}, minute {at / 60:.1f}: {counts}")

    def _count_requests(self) -> None:
        calls = [(call.operation, call.path) for call in self._audit.rotate()]
        self.requests.update(KINDS[call] for call in calls if call in KINDS)

    def _suffer(self, fault: faults.Fault, lasts: tuple[float, float]) -> None:
        """Have one fault come and go, often just after something was written."""
        self.meter.healthy = False
        if self._chance.random() < 0.5:
            self._write()
        fault.come()
        self._wait(lasts)
        fault.go()
        self.faults[fault.name] += 1
        began = time.monotonic()
        try:
            self._await_recovery()
        except TimeoutError:
            self.problems.append(f"no recovery from: {fault.name}")
            print(json.dumps(self.system.status(), indent=1), file=sys.stderr)
            return
        self.recovered_ms.append(1000 * (time.monotonic() - began))
        self.meter.healthy = True

    def _await_recovery(self) -> None:
        """Wait until the source is good, and all applications run what was written."""
        eventually(self._is_well, RECOVERED_SECONDS, f"snapshot {self.writes} in all")

    def _is_well(self) -> bool:
        found = self.system.settled(len(ROLES), self.writes)
        return found is not None and not found["source"]["failures"]

    def _write(self) -> None:
        """Make the secret hold what it never did: another DSN and another rate."""
        self.writes += 1
        self._written = {
            "SENTRY_DSN": self._sink.dsn(self.writes),
            "SENTRY_TRACES_SAMPLE_RATE": self.writes % 100 / 100,
        }
        self._rewrite()

    def _rewrite(self) -> None:
        self.system.vault.write(SECRET, self._written)

    def _wait(self, between: tuple[float, float]) -> None:
        time.sleep(self._chance.uniform(*between))


def main() -> None:
    """Run, print, write; exit 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=WHOLE_SECONDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    args = parser.parse_args()
    say(f"{args.seconds:g} s of faults, runs: {args.runs}")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.runs, mp_context=spawn) as pool:
        seeds = range(1, args.runs + 1)
        runs = list(pool.map(partial(one_run, args.seconds), seeds))
    verdicts = sorted({found["verdict"] for found in runs})
    result = {
        "measured": conditions(args.seconds),
        "verdict": "; ".join(verdicts),
        "limits": {
            **flat.allowed(args.seconds),
            "missed": flat.MISSED,
        },
        "runs": {str(found["seed"]): found for found in runs},
    }
    if args.seconds >= WHOLE_SECONDS:  # a shorter run says less
        write("soak", result)
    for found in runs:
        print(f"{flat.table(found)}\n{flat.last_line(found)}\n")
    if result["verdict"] != flat.FLAT:
        sys.exit(1)


def one_run(seconds: float, seed: int) -> dict[str, Any]:
    """Return every figure of one run."""
    with Soak(seed) as soak:
        soak.run(seconds)
        problems = list(soak.problems)
    figures = {"seed": seed, **counted(soak, seconds)}
    problems += flat.broken(figures, flat.allowed(seconds))
    return {"verdict": "; ".join(problems) or flat.FLAT, **figures}


def counted(soak: Soak, seconds: float) -> dict[str, Any]:
    """Return every figure."""
    meter, samples = soak.meter, soak.meter.samples
    hours = max(samples[-1].at if samples else 0, 1) / 3600
    return {
        "ends": flat.compare(samples, soak.looks, seconds),
        "grown": flat.grown(soak.looks, seconds),
        "fault_count": soak.faults.total(),
        "faults": dict(soak.faults),
        "recovered_ms": spread(soak.recovered_ms),
        "revisions": soak.writes,
        "passes": dict(meter.outcomes),
        "requests": dict(soak.requests),
        "answers": dict(meter.answers),
        "log_lines_per_hour": {
            level: round(count / hours) for level, count in meter.levels.items()
        },
        "unexpected_lines": meter.unexpected[:10],
        "healthy_seconds": sum(one.healthy for one in samples),
        "missed_polls": sum(one.missed for one in samples),
        "minutes": flat.minutes(samples),
        "looks": [{"at": round(look.at), **look.counts()} for look in soak.looks],
    }


def conditions(seconds: float) -> dict[str, Any]:
    """Say what the figures depend on."""
    return measured(
        agent="of the development environment, which makes it larger by some MB",
        over=f"TLS, AppRole with a TTL of 20 s, {len(ROLES)} applications",
        seconds=seconds,
        poll_seconds=POLL_SECONDS,
    )


if __name__ == "__main__":
    main()
