"""Looks at one agent each second, from outside: memory, descriptors, endpoints, log."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self, TextIO

import requests

from bench import proc

if TYPE_CHECKING:
    from lab.process import Process
    from lab.system import System

LATE_SECONDS = 1.5
PATHS = ("/livez", "/readyz", "/startupz", "/status", "/metrics")
OPEN = re.compile(r"^process_open_fds (\S+)", re.MULTILINE)
PASSES = re.compile(r'^resentry_passes_total\{outcome="(\w+)"\} (\S+)', re.MULTILINE)


class Sample(NamedTuple):
    """What was seen at one moment."""

    at: float
    """Seconds since the first look."""
    rss_kib: int
    anon_kib: int
    descriptors: int
    threads: int
    passes: int
    """That have ended since the sample before."""
    log_lines: int
    healthy: bool
    """Whether nothing was wrong since the sample before."""
    late: bool
    """Whether the machine had no time for this look: nothing follows from it."""

    @property
    def missed(self) -> bool:
        """Whether a healthy second has gone by without a pass."""
        return self.healthy and not self.late and not self.passes


class Meter:
    """Takes a sample each second until the context ends.

    Whoever breaks something says so first, and when all is well again, in `healthy`.
    """

    def __init__(self, system: System, agent: Process) -> None:
        self._system = system
        self._agent = agent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._health = True, 0
        self._ended = 0
        self._half_line = ""
        self._text = ""
        self.samples: list[Sample] = []
        self.outcomes: dict[str, int] = {}
        self.levels: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        """How often each path was answered with each status, or not at all."""
        self.unexpected: list[str] = []
        """Lines of the log with a traceback, or that call a target overdue."""

    def __enter__(self) -> Self:
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong."""
        return self._health[0]

    @healthy.setter
    def healthy(self, value: bool) -> None:
        self._health = value, self._health[1] + 1

    def _run(self) -> None:
        with self._agent.log.open() as log:
            self._ended = self._ask()
            before, health = self.began, self._health
            while not self._stop.wait(max(0.0, before + 1 - time.monotonic())):
                now = time.monotonic()
                is_healthy = self.healthy and health == self._health
                health = self._health
                try:
                    seen = self._look(log)
                except (FileNotFoundError, ProcessLookupError):
                    return  # the agent has ended
                is_late = now - before > LATE_SECONDS
                self.samples.append(
                    Sample(now - self.began, *seen, is_healthy, is_late)
                )
                before = now

    def _look(self, log: TextIO) -> tuple[int, int, int, int, int, int]:
        """Return what a sample has of the agent."""
        # Before the endpoints are asked, which takes descriptors.
        seen = (
            *proc.memory(self._agent.pid),
            self._descriptors(),
            proc.threads(self._agent.pid),
        )
        before, self._ended = self._ended, self._ask()
        return *seen, self._ended - before, self._count(log.read())

    def _ask(self) -> int:
        """Ask every path once; return how many passes have ended so far."""
        for path in PATHS:
            try:
                answer = self._system.get(path)
            except requests.RequestException as error:
                self.answers[f"{path} {type(error).__name__}"] += 1
            else:
                self.answers[f"{path} {answer.status_code}"] += 1
                if path == "/metrics":
                    self._text = answer.text
                    found = PASSES.findall(answer.text)
                    self.outcomes = {kind: int(float(count)) for kind, count in found}
        return sum(self.outcomes.values())

    def _descriptors(self) -> int:
        try:
            return len(os.listdir(f"/proc/{self._agent.pid}/fd"))
        except PermissionError:  # the agent hides it from all but root
            found = OPEN.search(self._text)
            return int(float(found[1])) if found else 0

    def _count(self, text: str) -> int:
        """Count the lines that have become whole by this text."""
        *lines, self._half_line = (self._half_line + text).split("\n")
        for line in lines:
            try:
                found = json.loads(line)
            except ValueError:  # not the agent's way: a traceback, a warning
                found = {"level": "none", "exception": line}
            self.levels[found["level"]] += 1
            if "exception" in found or found.get("rollout") == "overdue":
                self.unexpected.append(line)
        return len(lines)
