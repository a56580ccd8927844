"""Log lines of one kind are limited, whoever causes them."""

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from agent.observe.logs import BURST, KINDS, Limit


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def passed(clock: Clock) -> Callable[[str], dict[str, Any] | None]:
    """Return the event as it passes the limit; `None` if it is held back."""
    limit = Limit(clock)

    def ask(sentence: str) -> dict[str, Any] | None:
        try:
            return dict(limit(None, "info", {"event": sentence}))
        except structlog.DropEvent:
            return None

    return ask


def test_a_flood_of_one_kind_is_held_back(clock: Clock, passed: Any) -> None:
    """Lines that differ in numbers alone are of one kind; others still pass."""
    shown = [passed(f"{n} targets: {n % 7} waiting") for n in range(10_000)]
    assert len(list(filter(None, shown))) == BURST
    assert passed("published revision 3f9a1c2b7d04") == {
        "event": "published revision 3f9a1c2b7d04"
    }
    clock.now += 1
    assert passed("1 targets: 1 waiting") == {
        "event": "1 targets: 1 waiting",
        "held_back": 10_000 - BURST,
    }


def test_what_is_seldom_is_never_held_back(clock: Clock, passed: Any) -> None:
    """Every line of a quiet agent is shown."""
    for number in range(1000):
        clock.now += 1
        assert passed(f"pass {number}") == {"event": f"pass {number}"}


def test_ever_new_kinds_take_no_memory(passed: Any) -> None:
    """A stranger may choose the text."""
    for number in range(10 * KINDS):
        passed("".join(chr(ord("g") + int(digit)) for digit in f"{number}"))
    kinds = passed.__closure__[0].cell_contents._kinds
    assert len(kinds) == KINDS
