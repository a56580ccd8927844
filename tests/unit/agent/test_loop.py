"""The loop: calls that any thread posts, and one turn for all of them."""

from __future__ import annotations

import time

from agent.loop import Loop


def test_many_calls_are_one_turn() -> None:
    """A storm of signals does not make the daemon look at every receipt for each."""
    loop, ran = Loop(), []
    for number in range(100):
        loop.post(lambda number=number: ran.append(number))

    loop.turn(time.monotonic())

    assert ran == list(range(100))
    assert loop.has_called
    loop.turn(time.monotonic())
    assert not loop.has_called


def test_what_a_call_posts_is_for_the_next_turn() -> None:
    """So a turn ends."""
    loop, ran = Loop(), []
    loop.post(lambda: loop.post(lambda: ran.append("later")))

    loop.turn(time.monotonic())
    assert ran == []

    loop.turn(time.monotonic())
    assert ran == ["later"]


def test_a_call_that_fails_does_not_stop_the_others() -> None:
    """It is logged."""
    loop, ran = Loop(), []
    loop.post(lambda: 1 / 0)
    loop.post(lambda: ran.append("after"))

    loop.turn(time.monotonic())

    assert ran == ["after"]
