"""An agent for a long time, under faults: what grows, what it says, what it misses.

Run by `make soak`: one agent with everything on but HTTP receivers, polling five times
a second over TLS, three applications, and one fault after the other between it and its
Vault. Prints a table, writes bench/results/soak.json, and exits 1 when something grows
or is not as it should be. The last line is the verdict. A run of 36 minutes or more looks at
what is left after warming up, and allows the least; a shorter one finds what grows quickly.

Requests are the agent's in the server's audit log, which has none that a sealed,
limiting or absent server refuses.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench import faults, flat
from bench.audit import Audit
from bench.fleet import KINDS
from bench.meter import Meter
from bench.report import spread
from lab.logins import Logins
from lab.process import eventually
from lab.proxy import Proxy
from lab.sink import Sink
from lab.system import SECRET, System
from lab.vault import ProductionVault

RECOVERED_SECONDS = 20.0

POLL_SECONDS = 0.2
PASS_SECONDS = 2.0
FAULT_SECONDS = 0.5, 5.0
HEALTHY_SECONDS = 2.0, 6.0
QUICK_SECONDS = 0.5, 1.0
"""Both, until each fault has been once: all of it belongs to warming up."""
ROLES = ("api", "api", "celery")
TARGET = "import resentry, time; resentry.init(role={!r}); time.sleep(10**6)"
RESULT = Path(__file__).parent / "results/soak.json"


class Soak:
    """One agent and its applications, one fault after the other, a write now and then."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stack = ExitStack()
        self._written: dict[str, object] = {}
        self.writes = 0
        self.faults: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.recovered_ms: list[float] = []
        """From the end of a fault until every application ran what was written."""
        self.problems: list[str] = []

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
            self._kinds = len(known)
            self._faults = faults.in_turns(known, self._chance)
            self._audit = Audit(vault)
            self._write()
            login = Logins(vault, self.system.folder).approle(token_ttl="20s")
            self._agent = self.system.start_agent(
                **login, RESENTRY_VAULT_ADDR=proxy.url
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
        while time.monotonic() < until and not self.problems:
            self._wait(self._pace(HEALTHY_SECONDS))
            self._count_requests()
            self._suffer(next(self._faults))
        self._wait(HEALTHY_SECONDS)
        if not self._agent.alive:
            self.problems = ["the agent has ended"]

    def _count_requests(self) -> None:
        calls = [(call.operation, call.path) for call in self._audit.rotate()]
        self.requests.update(KINDS[call] for call in calls if call in KINDS)

    def _suffer(self, fault: faults.Fault) -> None:
        """Have one fault come and go, often just after something was written."""
        self.meter.healthy = False
        if self._chance.random() < 0.5:
            self._write()
        fault.come()
        self._wait(self._pace(FAULT_SECONDS))
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

    def _pace(self, usual: tuple[float, float]) -> tuple[float, float]:
        return usual if len(self.faults) == self._kinds else QUICK_SECONDS

    def _wait(self, between: tuple[float, float]) -> None:
        time.sleep(self._chance.uniform(*between))


def main() -> None:
    """Run, print, write; exit 1 if something is not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with Soak(args.seed) as soak:
        print(f"==> {args.seconds:g} s of faults, seed {args.seed}", file=sys.stderr)
        soak.run(args.seconds)
    figures = counted(soak, args.seconds)
    problems = soak.problems + flat.broken(figures)
    result = {
        "measured": conditions(args.seed, args.seconds),
        "verdict": "; ".join(problems) or "flat",
        "limits": {"missed": flat.MISSED},
        **figures,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(flat.table(figures))
    if problems:
        sys.exit(f"soak: NOT as it should be: {'; '.join(problems)}")
    warm, end = figures["ends"]["warm"], figures["ends"]["end"]
    print(
        f"soak: flat over {args.seconds:g} s and {sum(soak.faults.values())} faults: "
        f"Anon {end['anon_kib'] - warm['anon_kib']:+g} KiB, "
        f"{end['descriptors']} descriptors, {end['threads']} threads; "
        f"all {soak.writes} revisions confirmed by all {len(ROLES)} applications"
    )


def counted(soak: Soak, seconds: float) -> dict[str, Any]:
    """Return every figure."""
    meter, samples = soak.meter, soak.meter.samples
    hours = max(samples[-1].at if samples else 0, 1) / 3600
    return {
        "ends": flat.compare(samples, seconds),
        "allowed_kib": flat.allowed_kib(seconds),
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
    }


def conditions(seed: int, seconds: float) -> dict[str, Any]:
    """Say what the figures depend on."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "agent": "of the development environment, which makes it larger by some MB",
        "over": f"TLS, AppRole with a TTL of 20 s, {len(ROLES)} applications",
        "seconds": seconds,
        "seed": seed,
        "poll_seconds": POLL_SECONDS,
    }


if __name__ == "__main__":
    main()
