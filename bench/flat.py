"""What follows from the samples of a soak: what has grown, and what went wrong."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.meter import Sample

ANON_GROWTH_KIB = 256
WARM_SECONDS = 720.0
"""After this time nothing grows any more: caches are full, and the allocator has its share."""
WARMING_KIB = 768
"""What caches and allocator may take after a third of a run that ends while they fill."""
WINDOW_SECONDS = 30.0
"""So long, at either end of the rest, is compared."""
MISSED = 0.05
"""The share of healthy seconds that may go by without a pass: machines are shared."""

COLUMNS = {
    "rss_kib": "RSS KiB",
    "anon_kib": "Anon KiB",
    "descriptors": "descriptors",
    "threads": "threads",
    "passes": "passes",
    "log_lines": "log lines",
    "healthy": "healthy s",
    "missed": "missed",
}
TOTALS = {
    "faults": "faults",
    "recovered_ms": "recovered after (ms)",
    "revisions": "revisions written",
    "passes": "passes",
    "requests": "requests that arrived",
    "answers": "endpoints",
    "log_lines_per_hour": "log lines per hour",
    "missed_polls": "healthy seconds without a pass",
}


def allowed_kib(seconds: float) -> int:
    """Return by how much a run of this length may grow after warming up."""
    return ANON_GROWTH_KIB if seconds / 3 >= WARM_SECONDS else WARMING_KIB


def compare(samples: Sequence[Sample], seconds: float) -> dict[str, dict[str, float]]:
    """Return what an agent that is well occupies: after warming up, and at the end.

    Empty if it was never well after warming up.
    """
    warm = min(WARM_SECONDS, seconds / 3)
    window = min(WINDOW_SECONDS, seconds / 6)
    well = [one for one in samples if one.healthy and one.at >= warm]
    if not well:
        return {}
    first = [one for one in well if one.at < well[0].at + window]
    last = [one for one in well if one.at > well[-1].at - window]
    return {"warm": usual(first), "end": usual(last)}


def usual(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median memory, and the commonest numbers of the rest."""
    return {
        "rss_kib": statistics.median(one.rss_kib for one in samples),
        "anon_kib": statistics.median(one.anon_kib for one in samples),
        "descriptors": statistics.mode(one.descriptors for one in samples),
        "threads": statistics.mode(one.threads for one in samples),
    }


def minutes(samples: Sequence[Sample]) -> list[dict[str, float]]:
    """Return the same for each minute that has samples, with what happened in it."""
    by_minute: dict[int, list[Sample]] = {}
    for one in samples:
        by_minute.setdefault(int(one.at // 60), []).append(one)
    return [
        usual(part)
        | {
            "passes": sum(one.passes for one in part),
            "log_lines": sum(one.log_lines for one in part),
            "healthy": sum(one.healthy for one in part),
            "missed": sum(one.missed for one in part),
        }
        for part in by_minute.values()
    ]


def broken(figures: dict[str, Any]) -> list[str]:
    """Say what is not as it should be."""
    if not figures["ends"]:
        return ["it was never well after warming up"]
    warm, end = figures["ends"]["warm"], figures["ends"]["end"]
    found = []
    allowed = figures["allowed_kib"]
    if (grown := end["anon_kib"] - warm["anon_kib"]) >= allowed:
        found.append(f"Anon grew by {grown:g} KiB, allowed is {allowed}")
    found += [
        f"{name} were {warm[name]}, became {end[name]}"
        for name in ("descriptors", "threads")
        if warm[name] != end[name]
    ]
    missed, healthy = figures["missed_polls"], figures["healthy_seconds"]
    if missed > MISSED * healthy:
        found.append(f"{missed} of {healthy} healthy seconds went by without a pass")
    found += [
        f"{answer}, {count} times"
        for answer, count in figures["answers"].items()
        if not answer.endswith(" 200")
    ]
    if lines := figures["unexpected_lines"]:
        found.append(f"the log has what should not be there: {lines[0]}")
    return found


def table(figures: dict[str, Any]) -> str:
    """Return the figures for people: a line per minute, then the totals."""
    lines = ["minute" + "".join(f"{head:>12}" for head in COLUMNS.values())]
    for minute, found in enumerate(figures["minutes"], 1):
        lines.append(f"{minute:6}" + "".join(f"{found[one]:12g}" for one in COLUMNS))
    lines.append("")
    lines += [f"{title}: {_words(figures[name])}" for name, title in TOTALS.items()]
    return "\n".join(lines)


def _words(found: Any) -> str:
    if isinstance(found, dict):
        return ", ".join(f"{name} {value:g}" for name, value in found.items())
    return str(found)
