"""What follows from the samples of a soak: what has grown, and what went wrong."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.inside import Holding
    from bench.meter import Sample

FLAT = "flat"
GROWTH_KIB = 128
GROWTH_BLOCKS = 1500
"""As many pieces of memory of the usual size are 128 KiB."""
WARM_SECONDS = 720.0
"""After this time nothing grows any more: caches are full."""
FULL_SECONDS = WARM_SECONDS + 1200.0
WARMING_TIMES = 6
"""So many times as much may come after a third of a run that ends while caches fill."""
LOOKS = 3
"""So many looks, at either end of the rest, are compared."""
TYPES = 10
WINDOW_SECONDS = 30.0
"""So long, at either end of the rest, is compared."""
MISSED = 0.05
"""The share of healthy seconds that may go by without a pass: machines are shared."""


class Look(NamedTuple):
    """What an agent that was well held at one moment."""

    at: float
    """Seconds since the first sample."""
    holding: Holding

    def counts(self) -> dict[str, float]:
        """Return the numbers without those of each type."""
        counts = self.holding._asdict()
        del counts["types"]
        return counts


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


def allowed(seconds: float) -> dict[str, int]:
    """Return by how much each count of a run of this length may grow after warming up."""
    times = 1 if seconds >= FULL_SECONDS else WARMING_TIMES
    return {"trimmed_kib": times * GROWTH_KIB, "blocks": times * GROWTH_BLOCKS}


def compare(
    samples: Sequence[Sample], looks: Sequence[Look], seconds: float
) -> dict[str, dict[str, float]]:
    """Return what an agent that is well occupies: after warming up, and at the end.

    Empty if it was too seldom well after warming up.
    """
    warm = warm_after(seconds)
    window = min(WINDOW_SECONDS, seconds / 6)
    well = [one for one in samples if one.healthy and one.at >= warm]
    first_looks, last_looks = _ends(looks, seconds)
    if not well or not last_looks:
        return {}
    first = [one for one in well if one.at < well[0].at + window]
    last = [one for one in well if one.at > well[-1].at - window]
    return {
        "warm": usual(first) | held(first_looks),
        "end": usual(last) | held(last_looks),
    }


def warm_after(seconds: float) -> float:
    """Return when a run of this length has warmed up."""
    return min(WARM_SECONDS, seconds / 3)


def held(looks: Sequence[Look]) -> dict[str, float]:
    """Return the median of each number."""
    counts = [look.counts() for look in looks]
    return {name: statistics.median(one[name] for one in counts) for name in counts[0]}


def grown(looks: Sequence[Look], seconds: float) -> dict[str, float]:
    """Return the types of which most objects have come after warming up."""
    first, last = (
        {name: _median(part, name) for look in part for name in look.holding.types}
        for part in _ends(looks, seconds)
    )
    more = {name: count - first.get(name, 0) for name, count in last.items()}
    most = sorted(more, key=lambda name: more[name], reverse=True)[:TYPES]
    return {name: more[name] for name in most if more[name] > 0}


def _median(looks: Sequence[Look], name: str) -> float:
    return statistics.median(look.holding.types.get(name, 0) for look in looks)


def _ends(
    looks: Sequence[Look], seconds: float
) -> tuple[Sequence[Look], Sequence[Look]]:
    """Return the first and the last looks after warming up; empty if they are too few."""
    rest = [look for look in looks if look.at >= warm_after(seconds)]
    return (rest[:LOOKS], rest[-LOOKS:]) if len(rest) >= 2 * LOOKS else ([], [])


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


def broken(figures: dict[str, Any], allowed: Mapping[str, int]) -> list[str]:
    """Say what is not as it should be."""
    if not figures["ends"]:
        return ["it was too seldom well after warming up"]
    warm, end = figures["ends"]["warm"], figures["ends"]["end"]
    found: list[str] = []
    found += [
        f"{name} grew by {more:g}, allowed is {most}"
        for name, most in allowed.items()
        if (more := end[name] - warm[name]) > most
    ]
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


def last_line(run: dict[str, Any]) -> str:
    """Return the line that says how a run went."""
    name = f"soak, seed {run['seed']}"
    if run["verdict"] != FLAT:
        return f"{name}: NOT as it should be: {run['verdict']}"
    warm, end = run["ends"]["warm"], run["ends"]["end"]
    return (
        f"{name}: flat over {run['fault_count']} faults: "
        f"trimmed Anon {end['trimmed_kib'] - warm['trimmed_kib']:+g} KiB, "
        f"{end['blocks'] - warm['blocks']:+g} blocks, "
        f"{end['descriptors']} descriptors, {end['threads']} threads; "
        f"every application has confirmed all {run['revisions']} revisions"
    )
