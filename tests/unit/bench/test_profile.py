"""What the benchmark of the start concludes from what it has seen."""

from agent.lean import LIBRARIES
from bench.profile import SPARED, STEPS, steps


def test_each_stand_in_is_measured() -> None:
    """A library that is loaded with stand-ins has a row without them, and a step."""
    loaded = {name for modules, _ in STEPS.values() for name in modules.split()}
    assert set(LIBRARIES) <= set(SPARED) & loaded


def test_a_step_is_what_it_adds() -> None:
    """All steps together are the sum."""
    marks = {name: (10.0 * n, 1.0 * n, 5.0) for n, name in enumerate(STEPS, 1)}
    found = steps([marks, marks])
    assert found["settings"]["cpu_ms"]["median"] == 10
    assert found["settings"]["modules"]["median"] == 0
    assert found["sum"]["cpu_ms"]["median"] == 10 * len(STEPS)
