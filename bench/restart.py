"""A new DSN for eight services under load, by a swap and by a rolling restart: `make bench-restart`.

Each service is the example's API under uvicorn, one worker, without a broker. Each request
ends in an error there, so each answer owes one event. The swap is published and signalled
as the agent does it. The restart is the kindest that there is: two new processes serve
before two old ones get SIGTERM, and all share one socket, so the kernel gives no
connection to a process that has ended. A cluster adds its scheduler, images, probes, and
the delay of its load balancer. Both take turns. Prints a table, and writes
bench/results/restart.json with every round.

    new        from the start until the last process sends by the new DSN
    old        ... and until the last one that could send by the old DSN has stopped that
    requests   that were under way in that time, or in the second after
    failed     have no answer
    slower     took longer than the slowest of the five seconds before
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import requests

from agent.confirm.receipts import Receipts
from agent.notify.signal import Signals
from agent.publish.volume import Volume
from bench.converge import IN_MEMORY, Rotation
from bench.observer import Observer
from bench.report import Section, measured, say, table, write
from lab.process import Process, eventually
from lab.sink import Sink
from lab.swaps import settings_for
from lab.system import COMMANDS, EXAMPLE
from resentry.contract import Snapshot, revision_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 3
PROCESSES = 8
AT_ONCE = 2
THREADS = 4
PAUSE_SECONDS = 0.1
BEFORE_SECONDS = 5.0
AFTER_SECONDS = 1.0
ROWS = {
    "new_ms": "new (ms)",
    "old_ms": "old (ms)",
    "requests": "requests",
    "failed": "  failed",
    "slower": "  slower",
    "slowest_ms": "  slowest (ms)",
    "slowest_before_ms": "slowest before (ms)",
    "lost": "events lost",
}

SECTIONS = (
    Section(
        "restart",
        "A new DSN for eight services under load: a swap, and a rolling restart",
        "The example's API under uvicorn, eight processes at one socket, under requests "
        "that each owe an event. The restart starts two processes, then ends two, and so "
        "on; a cluster takes longer. `new`: until the last process sends by the new DSN; "
        "`old`: until none can send by the old one. `slower`: than the slowest of the "
        "five seconds before.",
        {"swap": "figures/swap/{}", "rolling restart": "figures/restart/{}"},
        ROWS,
        picture="restart.svg",
    ),
)


class Request(NamedTuple):
    """One request, on the clock of `time.time`."""

    began: float
    ended: float
    answered: bool


class Visitors:
    """Ask for a course from several threads until the context ends."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/courses/1"
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]
        self.made: list[Request] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            began = time.time()
            try:
                requests.get(self._url, timeout=30)
                answered = True
            except requests.RequestException:
                answered = False
            self.made.append(Request(began, time.time(), answered))


class Services:
    """Processes that serve at one socket, until the context ends."""

    def __init__(self, environ: dict[str, str]) -> None:
        self._environ = {**os.environ, "VERSION": "1", **environ}
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._stack = ExitStack()
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._socket.close()

    def start(self, number: int, **environ: str) -> list[Process]:
        """Start so many at once; return them when each of them serves."""
        listens = str(self._socket.fileno())
        command = (COMMANDS / "uvicorn", "app.main:api", "--fd", listens)
        processes = [
            Process(
                [*command, "--no-access-log"],
                env=self._environ | environ,
                cwd=EXAMPLE,
            )
            for _ in range(number)
        ]
        for process in processes:
            process.fds = (self._socket.fileno(),)
            self._stack.enter_context(process)
        eventually(lambda: all(map(serves, processes)), 60, f"{number} services")
        return processes


def serves(process: Process) -> bool:
    """Whether this service takes requests."""
    return "Uvicorn running" in process.log_text()


class Times(NamedTuple):
    """When each process began to send by the new DSN, and when one less had the old."""

    began: float
    new: list[float]
    old: list[float]


def swap(stack: ExitStack, dsns: tuple[str, str]) -> tuple[str, Callable[[], Times]]:
    """Start the services on a volume; return their URL, and what swaps all of them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY)))
    volume = Volume(str(folder), str(folder / "receipts"))
    volume.open()
    stack.callback(volume.close)
    volume.publish(snapshot(dsns[0]))
    services = stack.enter_context(Services({"RESENTRY_DIR": str(folder)}))
    services.start(PROCESSES)
    observer = stack.enter_context(Observer(folder))
    receipts, signals = Receipts(str(folder / "receipts")), Signals()

    def change() -> Times:
        began = time.time()
        sequence = volume.publish(snapshot(dsns[1])).sequence
        signals.notify(receipts.read())
        rotation = Rotation(sequence, PROCESSES)
        eventually(lambda: rotation.take(observer.new()), 30, "the last process")
        new, old = (
            sorted(one.at for one in found.values())
            for found in (rotation.confirmed, rotation.drained)
        )
        return Times(began, new, old)

    return services.url, change


def snapshot(dsn: str) -> Snapshot:
    """Return the first or the second snapshot."""
    found = Snapshot(settings_for(1, dsn))
    return replace(found, revision=revision_of(found))


def restart(stack: ExitStack, dsns: tuple[str, str]) -> tuple[str, Callable[[], Times]]:
    """Start the services with variables; return their URL, and what restarts them."""
    settings = {key: str(value) for key, value in settings_for(1, dsns[0]).items()}
    services = stack.enter_context(Services(settings))
    before = services.start(PROCESSES)

    def change() -> Times:
        times = Times(time.time(), [], [])
        while before:
            services.start(AT_ONCE, SENTRY_DSN=dsns[1])
            times.new.extend([time.time()] * AT_ONCE)
            for process in before[:AT_ONCE]:
                process.stop()
                times.old.append(time.time())
            del before[:AT_ONCE]
        return times

    return services.url, change


def measure(sink: Sink, way: Any) -> dict[str, Any]:
    """Change the DSN of all services under load; return what that took and cost."""
    sink.reset()
    with ExitStack() as stack:
        url, change = way(stack, (sink.dsn(1), sink.dsn(2)))
        with Visitors(url) as visitors:
            time.sleep(BEFORE_SECONDS)  # the first requests of a process are slow
            quiet = time.time()
            time.sleep(BEFORE_SECONDS)
            times = change()
            done = times.old[-1] + AFTER_SECONDS
            time.sleep(max(0.0, done - time.time()))
    answered = sum(one.answered for one in visitors.made)
    return {
        "new_ms": [round((at - times.began) * 1000, 1) for at in times.new],
        "old_ms": [round((at - times.began) * 1000, 1) for at in times.old],
        **cost(visitors.made, quiet, times.began, done),
        "lost": answered - sink.count("event"),
    }


def cost(
    made: list[Request], quiet: float, began: float, done: float
) -> dict[str, float]:
    """Return what requests suffered between `began` and `done`.

    They are compared with those that were made since `quiet` and answered before.
    """
    usual = [
        one.ended - one.began for one in made if quiet < one.began < one.ended < began
    ]
    during = [one for one in made if one.ended > began and one.began < done]
    took = [one.ended - one.began for one in during]
    return {
        "requests": len(during),
        "failed": sum(not one.answered for one in during),
        "slower": sum(seconds > max(usual) for seconds in took),
        "slowest_ms": round(max(took) * 1000, 1),
        "slowest_before_ms": round(max(usual) * 1000, 1),
    }


def main() -> None:
    """Measure, print, and write."""
    ways = {"swap": swap, "restart": restart}
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    with Sink() as sink:
        for number in range(ROUNDS):
            for name, way in ways.items():
                say(f"round {number + 1} of {ROUNDS}: {name}")
                rounds[name].append(measure(sink, way))
    figures = {name: middle(found) for name, found in rounds.items()}
    print(table(figures, ROWS))
    load = f"{THREADS} threads, {PAUSE_SECONDS:g} s between two requests of each"
    result = {"measured": measured(load=load), "processes": PROCESSES}
    result |= {"at_once": AT_ONCE, "figures": figures, "rounds": rounds}
    write("restart", result)


def middle(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each row; of times, that of the last process."""
    last = [
        {row: one[row][-1] if isinstance(one[row], list) else one[row] for row in ROWS}
        for one in rounds
    ]
    return {row: median(one[row] for one in last) for row in ROWS}


if __name__ == "__main__":
    main()
