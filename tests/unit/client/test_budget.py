"""A budget per minute: what is above it is cut evenly, and what is below is not touched."""

from __future__ import annotations

import random
import sys
import threading
from itertools import pairwise

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


@pytest.mark.parametrize("load", [2, 10, 50])
@pytest.mark.parametrize("per_minute", [60, 600, 3000])
def test_above_the_budget_each_second_has_its_part(per_minute: int, load: int) -> None:
    """Within 10 % in each minute. The first one has what was held for a burst, too."""
    clock = Clock()
    budget = Budget(per_minute, clock)
    counts = passed(budget, clock, per_minute / 60 * load, 180)
    minutes = [sum(counts[minute * 60 :][:60]) for minute in range(3)]
    assert minutes[0] == pytest.approx(per_minute + budget.burst, rel=0.1)
    assert minutes[1:] == pytest.approx([per_minute] * 2, rel=0.1)
    if per_minute >= 600:
        assert minutes[0] == pytest.approx(per_minute, rel=0.1)
        assert all(counts)
        assert max(counts[1:]) <= 2 * per_minute / 60


def test_a_small_budget_is_kept_over_ten_minutes() -> None:
    """However small it is, it holds at most a minute of it."""
    for per_minute in (1, 6, 30):
        clock = Clock()
        counts = passed(Budget(per_minute, clock), clock, 50, 600)
        assert 10 * per_minute <= sum(counts) <= 11 * per_minute + 2
        assert sum(counts[60:]) <= 9 * per_minute + 1


@pytest.mark.parametrize("part", [0.5, 0.8, 0.9])
@pytest.mark.parametrize("per_minute", [30, 60, 600, 6000])
def test_below_the_budget_nothing_is_cut(per_minute: int, part: float) -> None:
    """Also while events come as by chance, which is the usual load."""
    clock, draw = Clock(), random.Random(3)
    budget = Budget(per_minute, clock)
    cut, count = 0, 20_000
    for _ in range(count):
        clock.now += draw.expovariate(per_minute / 60 * part)
        if draw.random() < budget.share():
            budget.spend()
        else:
            cut += 1
    assert cut < count / 500
    assert part == 0.9 or cut == 0


@pytest.mark.parametrize(
    ("per_minute", "events", "seconds"),
    [
        (600, 50, 10),
        (600, 50, 60),
        (300, 20, 10),
        (120, 30, 60),
        (10, 5, 60),
        (2, 1, 30),
    ],
)
def test_a_burst_below_the_budget_passes_whole(
    per_minute: int, events: int, seconds: float
) -> None:
    """Five seconds of the budget, or 30 events, come at once."""
    clock = Clock()
    budget = Budget(per_minute, clock)
    for _ in range(60):
        clock.now += seconds
        for _ in range(events):
            assert budget.share() == 1.0
            budget.spend()


def test_what_is_named_goes_first() -> None:
    """It passes whole as long as it is below the budget itself; the rest shares what is left."""
    clock = Clock()
    budget = Budget(600, clock)
    passed(budget, clock, 200, 30)
    for _ in range(60):
        for _ in range(9):
            assert budget.share(first=True) == 1.0
            budget.spend()
        passed(budget, clock, 200, 1)
    assert sum(passed(budget, clock, 200, 60, first=1.0)) == pytest.approx(600, rel=0.1)


def test_a_long_rest_saves_one_burst() -> None:
    """And no more; what was overspent is paid back, but only a minute of it."""
    clock = Clock()
    budget = Budget(600, clock)
    clock.now += 3600
    assert budget.burst == 50
    assert 60 <= sum(passed(budget, clock, 1000, 1)) <= 80
    for _ in range(10_000):
        budget.spend()
    clock.now += 60.0
    assert budget.share() == 0.0
    clock.now += 3.0
    assert budget.share() == 1.0


def test_a_minute_of_the_budget_is_lent() -> None:
    """To what no share bounds."""
    for per_minute in (1, 60):
        clock = Clock()
        budget = Budget(per_minute, clock)
        count = 0
        while budget.can_overdraw():
            budget.spend()
            count += 1
        assert count == pytest.approx(per_minute + budget._most, abs=1)
        assert budget.share(first=True) == 0.0
        clock.now += 60.0
        assert budget.can_overdraw()


def test_what_is_given_back_can_be_spent_again() -> None:
    """Above what is held there is nothing."""
    clock = Clock()
    budget = Budget(60, clock)
    budget.give_back()
    for _ in range(1000):
        assert budget.share() == 1.0
        budget.spend()
        budget.give_back()
    assert sum(passed(budget, clock, 10_000, 1)) <= 32


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Python 3.10 may change threads anywhere"
)
def test_no_thread_loses_what_another_one_spends() -> None:
    """Each event is counted, though there is no lock."""
    budget = Budget(100_000, Clock())
    before = budget.share(), budget._state[0]

    def spend() -> None:
        for _ in range(1000):
            budget.share()
            budget.spend()

    threads = [threading.Thread(target=spend) for _ in range(16)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert before[1] - budget._state[0] == 16_000


def test_less_passes_while_less_is_left() -> None:
    """The share falls over the last second of the budget, and not at once."""
    budget = Budget(6000, Clock())
    shares = [budget.share()]
    while shares[-1] > 0:
        budget.spend()
        shares.append(budget.share())
    assert shares.count(1.0) == budget.burst + 1
    assert all(0 <= a - b < 0.011 for a, b in pairwise(shares))
