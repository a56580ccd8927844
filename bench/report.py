"""What benchmarks say: tables, spreads, what the figures depend on, and where they go.

Each benchmark writes bench/results/NAME.json: `measured` says under which conditions,
the rest is up to the benchmark. Its `SECTIONS` say what bench/RESULTS.md shows of it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import sentry_sdk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RESULTS = Path(__file__).parent / "results"


class Section(NamedTuple):
    """One table of bench/RESULTS.md. A path leads into the JSON: `figures/agent/{}`."""

    name: str
    """The benchmark's: bench/results/NAME.json."""
    title: str
    text: str
    """What was done, without any figure: those come from the JSON."""
    columns: Mapping[str, str]
    """Heads, and the path of each cell: `{}` stands for the row."""
    rows: Mapping[str, str]
    """What stands for `{}`, and the row's title."""
    picture: str = ""
    """A drawing beside bench/RESULTS.md."""
    command: str = ""
    """What measures it, where that is not `make bench-NAME`."""


def over_rounds(values: Sequence[float]) -> dict[str, Any]:
    """Return the median, the smallest, the largest, and each round's value."""
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "rounds": [round(value, 3) for value in values],
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median, the 99th percentile and the largest; empty for none."""
    ordered = sorted(values)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {
        name: round(ordered[round(last * share)], 3)
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1))
    }


def table(columns: dict[str, dict[str, Any]], rows: dict[str, str]) -> str:
    """Return the figures for people."""
    lines = ["".join([f"{'':28}", *(f"{head:>18}" for head in columns)])]
    for row, title in rows.items():
        cells = (f"{_find(column, row):>18}" for column in columns.values())
        lines.append("".join([f"{title:28}", *cells]))
    return "\n".join(lines)


def _find(column: dict[str, Any], row: str) -> str:
    found: Any = column
    for name in row.split("."):
        found = found.get(name, {})
    if isinstance(found, float):
        return f"{found:.2f}"
    return "-" if isinstance(found, dict) else str(found)


def in_rounds(values: Sequence[float], rounds: int = 10) -> list[float]:
    """Return the median of each of so many rounds of the values."""
    size = len(values) // rounds
    return [statistics.median(values[size * n : size * (n + 1)]) for n in range(rounds)]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, Any]:
    """Return what ours is to theirs in each round: they saw the same machine."""
    return over_rounds([a / b for a, b in zip(ours, theirs, strict=True)])


def number(value: float) -> str:
    """Return the number with the digits that mean something."""
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def measured(**more: Any) -> dict[str, Any]:
    """Say what the figures depend on; `more` is what this benchmark alone knows."""
    return {
        "python": platform.python_version(),
        "sentry_sdk": sentry_sdk.VERSION,
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": f"{os.cpu_count()} of {_processor()}",
        "load_average": round(os.getloadavg()[0], 1),
        **more,
    }


def write(name: str, found: Mapping[str, Any]) -> None:
    """Write bench/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"==> {what}", file=sys.stderr, flush=True)
