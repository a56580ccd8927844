"""The cases of the programs, and their table in `docs/library.md`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from differences import BOTH, DIFFERENCES

PROGRAMS = Path(__file__).parent / "programs"
sys.path.insert(0, str(PROGRAMS))

from program import CASES, Case  # noqa: E402 - as the programs themselves find it

for _path in sorted(PROGRAMS.glob("*.py")):
    importlib.import_module(_path.stem)

__all__ = ["CASES", "PROGRAMS", "Case", "table"]


def table() -> str:
    """Return features and ways as a Markdown table; all options are one row."""
    lines = [("feature", "by the environment", "with swaps"), ("---",) * 3]
    options = [one for one in CASES.values() if one.shows]
    lines += [
        (one.feature, *(_found([one], way) for way in BOTH))
        for one in CASES.values()
        if not one.shows
    ]
    each = [_found(options, way) for way in BOTH]
    lines += [("every option of the constructor, each by itself", *each)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _found(cases: list[Case], way: str) -> str:
    names = {one.name for one in cases}
    found = [one for one in DIFFERENCES if way in one.ways and names & set(one.cases)]
    return ", ".join(["the same", *(f"but {one.what}" for one in found)])
