"""What the benchmark of a service under requests concludes from its figures."""

import json
from typing import Any

import pytest

from bench.report import RESULTS
from bench.serving import (
    FIGURES,
    SUBJECTS,
    WORK,
    Turn,
    above,
    check,
    markdown,
    summed,
    table,
)


def figures(**cpu_ms: list[float]) -> dict[str, dict[str, Any]]:
    """The same for each work; `cpu_ms` of each turn, by subject."""
    return {
        work: {
            name: summed(
                [
                    Turn(100.0, cpu, 1.0, 2.0)
                    for cpu in cpu_ms.get(name, [1.0, 1.0, 1.0])
                ]
            )
            for name in SUBJECTS
        }
        for work in WORK
    }


def test_a_turn_is_compared_with_the_turn_beside_it() -> None:
    """A machine that was busy for one turn makes nobody expensive."""
    plain = {"sentry-sdk": [1.0, 3.0, 1.0]}
    assert above(figures(**plain, resentry=[1.1, 3.3, 2.0])) == []
    found = above(figures(**plain, resentry=[1.2, 3.6, 1.0]))
    assert len(found) == len(WORK)
    assert found[0] == "no error, traces 0: 1.20 times the CPU time, allowed is 1.15"


@pytest.mark.parametrize(
    ("kind", "options", "due"),
    [
        *(("plain", "0", 0), ("plain", "1", 100), ("plain", "scrubbed", 100)),
        *(("raises", "0", 100), ("raises", "1", 200), ("raises", "scrubbed", 200)),
    ],
)
def test_who_sends_less_is_not_compared(kind: str, options: str, due: int) -> None:
    """sentry-sdk alone drops what its queue of 100 does not hold."""
    check(due, 100, kind, options)
    check(due + 1, 100, kind, options)  # the flush of the turn before is traced, too
    with pytest.raises(RuntimeError, match=f"{due - 1} of {due} events"):
        check(due - 1, 100, kind, options)


def test_both_tables_show_each_work_and_subject() -> None:
    found = figures()
    assert len(table(found).splitlines()) == 1 + len(WORK) * (1 + len(FIGURES))
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + 3 * len(WORK)
    assert all(title in lines[0] for title in SUBJECTS.values())


def test_the_result_that_is_kept_has_every_turn() -> None:
    """docs/library.md shows it."""
    kept = json.loads((RESULTS / "serving.json").read_bytes())["figures"]
    assert kept.keys() == WORK.keys()
    for sides in kept.values():
        assert list(sides) == list(SUBJECTS)
        assert len({len(side["cpu_ms"]["rounds"]) for side in sides.values()}) == 1
