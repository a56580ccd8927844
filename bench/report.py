"""What benchmarks say: tables, percentiles, and what the figures depend on."""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING, Any

import sentry_sdk

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def conditions() -> dict[str, Any]:
    """Say what the figures depend on."""
    return {
        "python": platform.python_version(),
        "sentry_sdk": sentry_sdk.VERSION,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        "load": "8 threads; each 10th turn also a transaction, log, metric, session",
    }


def say(what: str) -> None:
    """Tell whoever waits what is going on."""
    print(f"==> {what}", file=sys.stderr, flush=True)
