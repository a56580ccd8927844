"""What Sentry costs the example under requests: `make bench-serving`.

The example's API under uvicorn, in the environment of the guide's backend: without Sentry,
with sentry-sdk alone, with resentry that follows a volume, and with resentry while each
second a snapshot with another DSN is published. All take turns in one run; a figure is
the median of all turns, and the JSON has every turn. Requests come over four kept
connections, each as soon as the one before is answered. A turn ends when its events are
sent: a queue that grows is no speed. The CPU time is that of the whole process, and says
the most on a machine that others use, too.

Both libraries get a queue that holds a whole turn, and a turn whose events have not all
arrived ends the run. With its own queue of 100, sentry-sdk drops events at these rates, and
then traces fewer requests: it is cheaper by the work that it leaves undone.

With PII on, the library scrubs nothing. The rows "PII off" have the cost of scrubbing in them.

Prints a table, writes bench/results/serving.json, and exits 1 when resentry costs more
beside sentry-sdk alone than is allowed.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import environment, proc
from bench.application import Bench
from bench.report import (
    Section,
    measured,
    number,
    over_rounds,
    say,
    spread,
    write,
)
from lab.paths import REPOSITORY
from lab.process import eventually, free_port, listens
from lab.sink import Sink

if TYPE_CHECKING:
    from bench.application import Application

SUBJECTS = {
    "none": "no Sentry",
    "sentry-sdk": "sentry-sdk",
    "resentry": "resentry",
    "swapping": "resentry, a swap a second",
}
PATHS = {"plain": "/openapi.json", "raises": "/courses/1"}
KINDS = {"plain": "no error", "raises": "each request raises"}
OPTIONS: dict[str, dict[str, Any]] = {
    "0": {"traces": 0.0},
    "1": {"traces": 1.0},
    "scrubbed": {"traces": 1.0, "pii": False},
}
TITLES = {"0": "traces 0", "1": "traces 1", "scrubbed": "traces 1, PII off"}
WORK = {
    f"{kind}.{name}": f"{title}, {options}"
    for kind, title in KINDS.items()
    for name, options in TITLES.items()
}
FIGURES = {
    "rate": "requests a second",
    "cpu_ms": "CPU a request (ms)",
    "p50_ms": "p50 (ms)",
    "p99_ms": "p99 (ms)",
}
TURNS = 4
SECONDS = 3.0
CONNECTIONS = 4
QUEUE = 10_000
"""Events that wait to be sent: more than a turn has."""
ALLOWED = 1.15
"""Of resentry's CPU time beside that of sentry-sdk alone, without swaps."""

SECTIONS = tuple(
    Section(
        "serving",
        f"What Sentry costs a service: {FIGURES[figure]}",
        "The example's API under uvicorn, four kept connections, each request as soon as "
        "the one before is answered; until all events have arrived. Both libraries have "
        "a queue that holds them.",
        {title: f"figures/{{}}/{name}/{figure}" for name, title in SUBJECTS.items()},
        WORK,
    )
    for figure in FIGURES
)

Figures = dict[str, dict[str, dict[str, Any]]]
"""Work, subject, figure: the median, the extremes and each turn."""


class Turn(NamedTuple):
    """What one turn of one subject has shown."""

    rate: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    requests: int = 0


def main() -> None:
    """Measure, print, write; exit 1 if resentry costs more than is allowed."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, Sink() as sink:
        say("building an application's environment from requirements/example.txt")
        binaries = environment.build(
            Path(name), "requirements/example.txt", [REPOSITORY / "client"]
        )
        bench = Bench(binaries / "python", Path(name), sink.dsn(1))
        found: dict[str, dict[str, list[Turn]]] = {}
        for options in OPTIONS:
            found |= measure(bench, sink, options)
    figures = {
        work: {name: summed(turns) for name, turns in sides.items()}
        for work, sides in found.items()
    }
    print(table(figures))
    load = f"{TURNS} turns of {SECONDS:g} s, {CONNECTIONS} connections"
    write("serving", {"measured": measured(load=load), "figures": figures})
    if broken := above(figures):
        sys.exit(f"resentry costs too much: {'; '.join(broken)}.")


def measure(bench: Bench, sink: Sink, options: str) -> dict[str, dict[str, list[Turn]]]:
    """Return all turns by work and subject, with those of the options."""
    found = {
        f"{kind}.{options}": {name: list[Turn]() for name in SUBJECTS} for kind in PATHS
    }
    dsns = itertools.cycle([sink.dsn(2), sink.dsn(1)])
    own = {"transport_queue_size": QUEUE}
    with contextlib.ExitStack() as stack:
        services = {}
        for name in SUBJECTS:
            kind = "resentry" if name == "swapping" else name
            one = stack.enter_context(bench.start(kind, **OPTIONS[options], own=own))
            services[name] = one, free_port()
            one.tell("serve", services[name][1])
            eventually(functools.partial(listens, services[name][1]), 30, "a service")
        for turn in range(TURNS + 1):  # the first one warms up
            which = f"turn {turn} of {TURNS}" if turn else "warming up"
            say(f"{TITLES[options]}: {which}")
            for kind, path in PATHS.items():
                for name, (one, port) in services.items():
                    swaps = dsns if name == "swapping" else None
                    before = arrived(sink)
                    seen = serve(one, port, path, SECONDS if turn else 0.5, swaps)
                    if name != "none":
                        check(arrived(sink) - before, seen.requests, kind, options)
                    if turn:
                        found[f"{kind}.{options}"][name].append(seen)
    return found


def arrived(sink: Sink) -> int:
    """Return how many errors and traces the sink has got."""
    return sink.count("event") + sink.count("transaction")


def check(came: int, requests: int, kind: str, options: str) -> None:
    """Raise if an event is missing: a library that sends less does less work."""
    due = requests * ((kind == "raises") + int(OPTIONS[options]["traces"]))
    if came < due:
        raise RuntimeError(f"{came} of {due} events have arrived: no fair comparison")


def serve(
    one: Application,
    port: int,
    path: str,
    seconds: float,
    dsns: itertools.cycle[str] | None,
) -> Turn:
    """Ask one service for so long, and swap it each second if there are DSNs."""
    before, began = proc.usage(one.pid).cpu_ns, time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        asked = [
            pool.submit(ask, port, path, began + seconds) for _ in range(CONNECTIONS)
        ]
        while wait(asked, timeout=1).not_done:
            if dsns is not None:
                one.swap(next(dsns))
    ask(port, "/flush")
    took = time.perf_counter() - began
    cpu = proc.usage(one.pid).cpu_ns - before
    if dsns is not None:  # else it was no swap that this has measured
        eventually(lambda: one.is_current, 10, "the last swap")
    times = [milliseconds for done in asked for milliseconds in done.result()]
    shares = spread(times)
    number = len(times)
    rate, each = number / took, cpu / 1e6 / number
    return Turn(rate, each, shares["p50"], shares["p99"], number)


def ask(port: int, path: str, until: float = 0.0) -> list[float]:
    """Ask over one kept connection until then, once at least; return milliseconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times: list[float] = []
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        times.append((time.perf_counter() - began) * 1000)
        if response.status not in {200, 500}:
            raise RuntimeError(f"{path} is answered with {response.status}")
        if response.status == 500:  # uvicorn closes it, too
            connection.close()
    connection.close()
    return times


def summed(turns: list[Turn]) -> dict[str, Any]:
    """Return each figure's median, extremes and turns."""
    return {
        name: over_rounds([getattr(one, name) for one in turns]) for name in FIGURES
    }


def above(figures: Figures) -> list[str]:
    """Say where resentry takes more CPU time than is allowed."""
    said = []
    for work, title in WORK.items():
        ratio = beside(figures[work], "resentry")
        if ratio > ALLOWED:
            said.append(
                f"{title}: {ratio:.2f} times the CPU time, allowed is {ALLOWED}"
            )
    return said


def beside(sides: dict[str, dict[str, Any]], name: str) -> float:
    """Return the median of a subject's CPU time to sentry-sdk's, turn by turn."""
    ours, plain = (sides[each]["cpu_ms"]["rounds"] for each in (name, "sentry-sdk"))
    return float(median(a / b for a, b in zip(ours, plain, strict=True)))


def table(figures: Figures) -> str:
    """Return the figures for people."""
    lines = [f"{'':40}" + "".join(f"{title:>27}" for title in SUBJECTS.values())]
    for work, title in WORK.items():
        lines.append(title)
        for figure, text in FIGURES.items():
            values = [figures[work][name][figure]["median"] for name in SUBJECTS]
            lines.append(f"  {text:38}" + "".join(f"{value:27.4g}" for value in values))
    return "\n".join(lines)


def markdown(figures: Figures) -> str:
    """Return the figures as the table of docs/library.md, with a list of what is above."""
    heads = ["", *SUBJECTS.values(), "CPU of resentry / sentry-sdk"]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for work, title in WORK.items():
        sides = figures[work]
        for figure in ("rate", "cpu_ms", "p99_ms"):
            values = [number(sides[name][figure]["median"]) for name in SUBJECTS]
            ratio = f"{beside(sides, 'resentry'):.2f}" if figure == "cpu_ms" else ""
            lines.append([f"{title}: {FIGURES[figure]}", *values, ratio])
    broken = "".join(f"- {said}\n" for said in above(figures))
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{text}\nAbove what is allowed:\n\n{broken}" if broken else text


if __name__ == "__main__":
    main()
