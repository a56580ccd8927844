"""Beside plain sentry-sdk nothing differs but what is meant to.

Each case is a small program, run with sentry-sdk alone, with the library by environment
variables, and with the library while snapshots are swapped.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import pytest
from cases import CASES, table
from differences import DIFFERENCES, listed
from sentry_sdk.consts import DEFAULT_OPTIONS
from ways import LEAST_SWAPS, REPOSITORY, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cases import Case

pytestmark = [pytest.mark.process, pytest.mark.timeout(240)]

MISSING = "(nothing)"
MOST_SHOWN = 40
WIDEST = 300


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_program_sends_the_same(case: Case, tmp_path: Path) -> None:
    """Envelopes, headers and requests are equal, but for what is meant to differ."""
    with ExitStack() as stack:
        runs = [Run(case, way, tmp_path) for way in ("plain", "environment", "swaps")]
        if case.shows:
            runs.append(Run(case, "plain", tmp_path, without=True))
        for run in runs:
            stack.enter_context(run)
        # That with swaps first: nobody else publishes for it.
        runs.sort(key=lambda run: run.way != "swaps")
        found = {run.name: run.end() for run in runs}
        swaps = sum(run.swaps for run in runs)

    (tmp_path / "documents.json").write_text(json.dumps(found, indent=1))
    plain = found.pop("plain")
    without = found.pop("plain-without", None)
    assert plain["code"] == case.code, plain["stderr"]
    assert any(plain[kind] for kind in plain.keys() - {"code", "stderr"}), plain
    if case.shows and not differing(plain, without):
        pytest.fail("what it shows has no effect", pytrace=False)
    meant = [one for one in DIFFERENCES if case.name in one.cases]
    faults, needed = [], set()
    for way, other in found.items():
        for path, ours, theirs in differing(other, plain):
            here = [one.what for one in meant if one.allows(way, path)]
            needed.update((what, way) for what in here)
            if not here:
                shown = f"    plain {cut(theirs)}\n    ours  {cut(ours)}"
                faults.append(f"{way}: {path}\n{shown}")
    if faults:
        pytest.fail(report(case, faults), pytrace=False)
    assert swaps >= LEAST_SWAPS, "it has to `pause`, so that swaps happen meanwhile"
    unneeded = {(one.what, way) for one in meant for way in one.ways} - needed
    assert not unneeded, "nothing differs there any more: remove it"


def report(case: Case, faults: list[str]) -> str:
    """Return what differs, for people."""
    more = len(faults) - MOST_SHOWN
    lines = faults[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
    return f"{case.program} {case.name} differs from sentry-sdk alone\n" + "\n".join(
        lines
    )


def cut(value: Any) -> str:
    """Return a value as it is shown."""
    text = repr(value)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def differing(ours: Any, theirs: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Return each place where two documents differ, and what stands there."""
    return list(_differing(ours, theirs, path))


def _differing(ours: Any, theirs: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in sorted(ours.keys() | theirs.keys()):
            yield from _differing(
                ours.get(key, MISSING), theirs.get(key, MISSING), f"{path}/{key}"
            )
    elif isinstance(ours, list) and isinstance(theirs, list):
        pairs = zip_longest(ours, theirs, fillvalue=MISSING)
        for at, (one, other) in enumerate(pairs):
            yield from _differing(one, other, f"{path}/{at}")
    elif ours != theirs:
        yield path, ours, theirs


def test_every_option_of_the_sdk_has_a_case() -> None:
    """Also one that only a newer sentry-sdk has: it wants a case in one of `options_*.py`."""
    shown = {name for case in CASES.values() for name in case.shows}
    assert shown == set(DEFAULT_OPTIONS)


def test_every_difference_is_shown_by_a_case() -> None:
    """What no program shows would never be missed."""
    for one in DIFFERENCES:
        assert one.cases
        assert set(one.cases) <= set(CASES)


def test_the_docs_show_what_is_compared_and_what_may_differ() -> None:
    """`make docs` has written both anew since a case or a difference changed."""
    page = (REPOSITORY / "docs" / "library.md").read_text()
    assert table() in page
    assert listed() in page
