"""What the benchmark of a rolling restart concludes from what it saw."""

from bench.restart import ROWS, Request, cost, middle


def test_requests_are_compared_with_those_before() -> None:
    """The first requests of a process don't count, and those after the end don't."""
    made = [
        Request(0.0, 9.0, answered=True),
        Request(10.0, 10.2, answered=True),
        Request(14.9, 15.4, answered=True),
        Request(16.0, 16.2, answered=False),
        Request(17.0, 17.3, answered=True),
        Request(20.0, 29.0, answered=True),
    ]
    assert cost(made, quiet=9.5, began=15.0, done=18.0) == {
        "requests": 3,
        "failed": 1,
        "slower": 2,
        "slowest_ms": 500.0,
        "slowest_before_ms": 200.0,
    }


def test_a_round_counts_by_its_last_process() -> None:
    rounds = [
        dict.fromkeys(ROWS, number) | {"new_ms": [1.0, float(number)]}
        for number in (5, 3, 9)
    ]
    assert middle(rounds) == dict.fromkeys(ROWS, 5)
