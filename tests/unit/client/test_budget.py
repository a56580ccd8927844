"""A budget per minute: what is above it is cut evenly, and what is below is not touched."""

from __future__ import annotations

import random

import pytest

from resentry.budget import Budget


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def passed(
    budget: Budget,
    clock: Clock,
    per_second: float,
    seconds: int,
    first: float = 0.0,
    seed: int = 7,
) -> list[int]:
    """Return how many passed in each second. A share of the load goes `first`."""
    draw = random.Random(seed).random
    counts = []
    for _ in range(seconds):
        count = 0
        for _ in range(round(per_second)):
            clock.now += 1 / round(per_second)
            if draw() < budget.share(first=draw() < first):
                budget.spend()
                count += 1
        counts.append(count)
    return counts


@pytest.mark.parametrize("load", [2, 10, 100])
@pytest.mark.parametrize("per_minute", [60, 600, 6000])
def test_above_the_budget_each_second_has_its_part(per_minute: int, load: int) -> None:
    """Within 10 % in each minute, from the first one; a burst is cut within a second."""
    clock = Clock()
    budget = Budget(per_minute, clock)
    counts = passed(budget, clock, per_minute / 60 * load, 180)
    for minute in range(3):
        assert sum(counts[minute * 60 :][:60]) == pytest.approx(per_minute, rel=0.1)
    if per_minute >= 600:
        assert all(counts)
        assert max(counts[1:]) <= 2 * per_minute / 60


def test_below_the_budget_nothing_is_cut() -> None:
    """Also while the load is as uneven as two seconds of it at once."""
    clock = Clock()
    budget = Budget(600, clock)
    assert passed(budget, clock, 9, 60) == [9] * 60
    for _ in range(60):
        for _ in range(10):
            assert budget.share() == 1.0
            budget.spend()
        clock.now += 2


def test_what_is_named_goes_first() -> None:
    """It passes whole as long as it is below the budget itself; the rest shares what is left."""
    clock = Clock()
    budget = Budget(600, clock)
    passed(budget, clock, 200, 30)
    for _ in range(60):
        assert budget.share(first=True) == pytest.approx(1.0, abs=0.35)
        budget.spend()
        clock.now += 0.2
    assert sum(passed(budget, clock, 200, 60, first=1.0)) == pytest.approx(600, rel=0.1)


def test_a_long_rest_saves_three_seconds_of_budget() -> None:
    """And no more; what was overspent is not paid back for longer, either."""
    clock = Clock()
    budget = Budget(600, clock)
    clock.now += 3600
    assert sum(passed(budget, clock, 1000, 1)) < 40
    for _ in range(10_000):
        budget.spend()
    clock.now += 6.0
    assert budget.share() == 1.0


def test_a_tiny_budget_lets_one_pass() -> None:
    """Six per minute are six, however small that is per second."""
    clock = Clock()
    budget = Budget(6, clock)
    assert sum(passed(budget, clock, 50, 600)) == pytest.approx(60, rel=0.1)
