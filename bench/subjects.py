"""The agent and its peers as they start and as they run, measured from outside.

All of them run at the same time, on the same machine: so a load hits all of them.
"""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

from bench import proc
from bench.audit import Audit
from bench.report import say
from lab.process import Process, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bench.peers import Command, Peers
    from lab.vault import ProductionVault

STARTS = 15
SETTLED_POLLS = 5
ROUNDS = 6
ROUND_SECONDS = 12
IDLE_ROUNDS = 3
IDLE_SECONDS = 20
POLL_SECONDS = 1
NEVER_SECONDS = 3600

TARGET = "import resentry, time; resentry.init(role='api'); time.sleep(3600)"
IDLE = "import time; print('up', flush=True); time.sleep(3600)"
CONFIRMED = 'resentry_targets{role="api",state="drained"} 1.0'

Rounds = dict[str, dict[str, list[float]]]
"""What each round gave, by subject and row."""


class Running(NamedTuple):
    """A subject that runs."""

    pid: int
    command: Command


def add(found: Rounds, name: str, figures: Mapping[str, float]) -> None:
    """Add the figures of one round."""
    for row, value in figures.items():
        found.setdefault(name, {}).setdefault(row, []).append(value)


def starts(peers: Peers, names: Sequence[str]) -> Rounds:
    """Start each in turns, until its first file is there."""
    found: Rounds = {}
    for _ in range(STARTS):
        end = proc.to_run(peers.python("pass"))
        took = {"start_ms": 1000 * end.seconds, "start_cpu_ms": end.cpu_ns / 1e6}
        add(found, "interpreter", took)
        for name in names:
            add(found, name, _start(peers.command(name, POLL_SECONDS)))
    return found


def _start(command: Command) -> dict[str, float]:
    return figures_of(proc.moments(stages(command), command.args, command.env))


def stages(command: Command) -> list[Callable[[], bool]]:
    """Return what tells that it has published, and, of the agent, answers /startupz."""
    if command.port:
        return [command.first_file.exists, lambda: _answers(command.port)]
    return [command.first_file.exists]


def figures_of(moments: Sequence[proc.Moment]) -> dict[str, float]:
    """Return the figures of one start from the moments of its stages."""
    figures = {}
    for name, moment in zip(("start", "startupz"), moments, strict=False):
        figures[f"{name}_ms"] = 1000 * moment.seconds
        figures[f"{name}_cpu_ms"] = moment.cpu_ns / 1e6
    return figures


class Fleet:
    """Those subjects and an idle interpreter, running until the end of the context."""

    def __init__(
        self,
        peers: Peers,
        vault: ProductionVault,
        names: Sequence[str],
        seconds: float,
    ) -> None:
        self._peers, self._names = peers, names
        self._audit = Audit(vault)
        self._seconds = seconds
        self._stack = ExitStack()
        self._all: dict[str, Running] = {}

    def __enter__(self) -> Self:
        with self._stack:
            for name in self._names:
                self._start(name)
            idle = self._stack.enter_context(Process(self._peers.python(IDLE), env={}))
            eventually(lambda: "up" in idle.log_text(), what="an idle interpreter")
            self._interpreter = idle.pid
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, name: str) -> None:
        command = self._peers.command(name, self._seconds)
        process = Process(command.args, env=command.env, ready=lambda: _is_up(command))
        self._stack.enter_context(process)
        self._all[name] = Running(process.pid, command)
        if command.port:
            target_env = {"RESENTRY_DIR": command.env["RESENTRY_DIR"]}
            target = Process(self._peers.python(TARGET), env=target_env)
            self._stack.enter_context(target)
            what = "the application's proof"
            eventually(lambda: CONFIRMED in _get(command.port, "/metrics"), what=what)

    def settle(self) -> None:
        """Return when all have polled some times."""
        polls: Counter[str] = Counter()
        while any(polls[name] < SETTLED_POLLS for name in self._names):
            time.sleep(self._seconds)
            polls += self._requests()[0]

    def sizes(self, name: str) -> dict[str, float]:
        """Return what that subject occupies now."""
        return _sizes(self._all[name].pid)

    def steady(self) -> Rounds:
        """Measure rounds of polls, and what each occupies."""
        found: Rounds = {}
        self.settle()
        for number in range(1, ROUNDS + 1):
            say(f"round {number} of {ROUNDS}: {ROUND_SECONDS} s of polls")
            self._audit.calls()
            used = self._used(ROUND_SECONDS)
            polls, requests = self._requests()
            for name, (cpu_ms, waits) in used.items():
                figures = {
                    "cpu_ms_per_poll": cpu_ms / polls[name],
                    "waits_per_poll": waits / polls[name],
                    "requests_per_poll": requests[name] / polls[name],
                }
                add(found, name, self.sizes(name) | figures)
            add(found, "interpreter", _sizes(self._interpreter))
        return found

    def idle(self) -> Rounds:
        """Measure how often each wakes up while it has nothing to do."""
        found: Rounds = {}
        time.sleep(10)  # what follows a start is over
        for number in range(1, IDLE_ROUNDS + 1):
            say(f"round {number} of {IDLE_ROUNDS}: {IDLE_SECONDS} s without a poll")
            for name, (cpu_ms, waits) in self._used(IDLE_SECONDS).items():
                minutes = IDLE_SECONDS / 60
                figures = {
                    "idle_wakes_per_minute": waits / minutes,
                    "idle_cpu_ms_per_minute": cpu_ms / minutes,
                }
                add(found, name, figures)
        return found

    def _used(self, seconds: float) -> dict[str, tuple[float, int]]:
        """Return the CPU in ms and the times asleep of each, over that time."""
        before = {name: proc.usage(each.pid) for name, each in self._all.items()}
        time.sleep(seconds)
        found = {}
        for name, each in self._all.items():
            after = proc.usage(each.pid)
            cpu_ms = (after.cpu_ns - before[name].cpu_ns) / 1e6
            found[name] = cpu_ms, after.waits - before[name].waits
        return found

    def _requests(self) -> tuple[Counter[str], Counter[str]]:
        """Return since the last look: reads of its secret, and requests, of each."""
        calls = self._audit.calls()
        owners = {each.command.secret: name for name, each in self._all.items()}
        tokens = {
            call.token: owners[call.path] for call in calls if call.path in owners
        }
        polls = Counter(owners[call.path] for call in calls if call.path in owners)
        requests = Counter(tokens[call.token] for call in calls if call.token in tokens)
        return polls, requests


def _sizes(pid: int) -> dict[str, float]:
    rss, anon = proc.memory(pid)
    return {
        "rss_mb": rss * 1024 / 1e6,
        "anon_mib": anon / 1024,
        "threads": proc.threads(pid),
    }


def _is_up(command: Command) -> bool:
    return command.first_file.exists() and (not command.port or _answers(command.port))


def _answers(port: int) -> bool:
    try:
        return "200" in _get(port, "/startupz", status=True)
    except OSError:  # it does not listen yet
        return False


def _get(port: int, path: str, *, status: bool = False) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return str(answer.status) if status else answer.read().decode()
