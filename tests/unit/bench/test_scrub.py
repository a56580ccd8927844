"""What the benchmark of scrubbing concludes from its figures."""

from bench.scrub import GATES, ROWS, broken_gates, table


def figures(**ratios: float) -> dict[str, dict[str, float]]:
    took = {"sdk_us": 100.0, "with_ours_us": 150.0}
    return {name: {**took, "ratio": ratio} for name, ratio in ratios.items()}


def test_at_the_gates_it_passes() -> None:
    assert broken_gates(figures(**GATES)) == []


def test_a_broken_gate_is_named_with_its_limit() -> None:
    assert broken_gates(figures(**{**GATES, "planted": 0.51})) == [
        "the planted event takes 0.51 of the SDK's time, allowed is 0.5"
    ]


def test_the_table_has_a_line_per_event() -> None:
    assert len(table(figures(**GATES)).splitlines()) == 1 + len(ROWS)
