"""What the benchmark of scrubbing concludes from its figures."""

from typing import Any

from bench.scrub import GATES, broken_gates


def figures(**ratios: float) -> dict[str, dict[str, Any]]:
    return {name: {"ratio": {"median": ratio}} for name, ratio in ratios.items()}


def test_at_the_gates_it_passes() -> None:
    assert broken_gates(figures(**GATES)) == []


def test_a_broken_gate_is_named_with_its_limit() -> None:
    assert broken_gates(figures(**{**GATES, "planted": 0.51})) == [
        "the planted event takes 0.51 of the SDK's time, allowed is 0.5"
    ]
