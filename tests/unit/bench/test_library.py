"""What the benchmark of the library concludes from its figures."""

import json
from typing import Any

from bench.library import (
    RESULT,
    ROWS,
    SUBJECTS,
    above,
    judged,
    markdown,
    report,
    table,
)


def figures(**changed: tuple[float, float]) -> dict[str, dict[str, float]]:
    """What was found: the same of both, except for the rows that are named."""
    same = (1.0, 1.0)
    return {
        name: judged(row, dict(zip(SUBJECTS, changed.get(name, same), strict=True)))
        for name, row in ROWS.items()
    }


def test_what_is_at_its_bound_passes() -> None:
    assert above(figures(init=(100, 115), threads=(2, 3), waits=(0.0, 1.04))) == []


def test_what_is_above_its_bound_is_named_with_it() -> None:
    found: dict[str, Any] = {"init": (100, 116), "threads": (2, 4), "waits": (0.0, 1.1)}
    assert above(figures(**found)) == [
        "init (ms) is 1.16 times, allowed is 1.15",
        "threads after the first event: 2 more, allowed is 1",
        "idle: wake-ups a second: 1.1 more, allowed is 1",
    ]


def test_a_p99_is_what_half_of_the_hundreds_are_below() -> None:
    """Whatever one hundred of them has met, and what is no whole hundred."""
    hundreds = [*[1.0] * 98, 3.0, 9.0] * 3 + [50.0] * 100 + [70.0] * 99
    found = report(
        {name: dict.fromkeys(SUBJECTS, hundreds) for name in ("x.p50", "x.p99")}
    )
    assert found == {
        "x.p50": dict.fromkeys(SUBJECTS, 1.0),
        "x.p99": dict.fromkeys(SUBJECTS, 3.0),
    }


def test_both_tables_have_a_line_for_each_row() -> None:
    found = figures()
    assert len(table(found).splitlines()) == 1 + len(ROWS)
    assert len(markdown(found).splitlines()) == 2 + len(ROWS)


def test_the_result_that_is_kept_has_every_row() -> None:
    """docs/library.md shows it."""
    assert json.loads(RESULT.read_bytes())["figures"].keys() == ROWS.keys()


def test_the_page_names_what_is_above_its_bound() -> None:
    """Below the table, in the words of the command."""
    assert markdown(figures(init=(100, 116))).splitlines()[-1] == (
        "- init (ms) is 1.16 times, allowed is 1.15"
    )
