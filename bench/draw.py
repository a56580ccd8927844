"""The charts beside bench/RESULTS.md, drawn from bench/results/*.json alone.

The same figures give the same file, byte for byte: a test compares.
"""

from __future__ import annotations

import io
import json
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.peers import NAMES
from bench.report import RESULTS, number

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

FOLDER = RESULTS.parent
OURS, THEIRS, INK = "#6c3fc5", "#9ba0ae", "#24262d"
FOOTPRINT = {
    "anon_mib": "memory, not shareable (MiB)",
    "rss_mb": "memory, resident (MB)",
    "cpu_ms_per_poll": "CPU per poll (ms)",
    "start_ms": "start to first file (ms)",
}
STYLE: Any = {
    "svg.hashsalt": "resentry",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}

Found = dict[str, Any]


def footprint(found: Found) -> Figure:
    """Draw what the agent takes, beside its peers: a panel for each figure."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    figure.suptitle("The agent beside its peers: less is better")
    panels = figure.subplots(2, 2).flat
    for panel, (row, title) in zip(panels, FOOTPRINT.items(), strict=True):
        medians = {
            head: found["figures"][name][row]["median"]
            for name, head in NAMES.items()
            if row in found["figures"].get(name, {})
        }
        _bars(panel, medians)
        panel.set_title(title, loc="left", fontsize=10)
    return figure


def _bars(panel: Axes, values: dict[str, float]) -> None:
    heads = list(values)
    colors = [OURS if head.startswith("agent") else THEIRS for head in heads]
    bars = panel.barh(heads, list(values.values()), color=colors, height=0.65)
    panel.bar_label(bars, fmt=number, padding=3)
    panel.invert_yaxis()
    panel.set_xlim(0, 1.15 * max(values.values()))
    panel.xaxis.set_visible(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(left=False)


def convergence(found: Found) -> Figure:
    """Draw how many processes have the new DSN, over time, for both ways."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panel = figure.subplots()
    ways = {"swap": ("resentry", OURS), "restart": ("rolling restart", THEIRS)}
    for way, (head, color) in ways.items():
        for row, line in (("new_ms", "solid"), ("old_ms", "dashed")):
            rounds = [sorted(one[row]) for one in found["rounds"][way]]
            times = [median(ranks) / 1000 for ranks in zip(*rounds, strict=True)]
            what = "sends by the new DSN" if row == "new_ms" else "no longer by the old"
            panel.step(
                times,
                range(1, len(times) + 1),
                where="post",
                color=color,
                linestyle=line,
                linewidth=2,
                label=f"{head}: {what}",
            )
    panel.set_xscale("log")
    panel.xaxis.set_major_formatter(lambda seconds, _: f"{seconds:g} s")
    panel.set_ylim(0, found["processes"] + 0.5)
    panel.set_ylabel("processes")
    panel.set_title("A new DSN under load, until the last process has it", loc="left")
    panel.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False)
    return figure


CHARTS: dict[str, Callable[[Found], Figure]] = {
    "agent": footprint,
    "restart": convergence,
}
"""By the benchmark whose figures they show; the file is bench/NAME.svg."""


def svg(name: str) -> str:
    """Return the chart of that benchmark."""
    found = json.loads((RESULTS / f"{name}.json").read_bytes())
    file = io.StringIO()
    with mpl.rc_context(STYLE):
        CHARTS[name](found).savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def main() -> None:
    """Draw all of them."""
    for name in CHARTS:
        (FOLDER / f"{name}.svg").write_text(svg(name))
