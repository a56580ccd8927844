"""How `rotate` carries a rotation on: its pauses, and the name of an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from agent.cli import rotating
from agent.cli.answer import Answer
from agent.errors import SourceDown
from agent.rotation.journal import Journal
from agent.rotation.keeper import RotationBusy, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = Journal(rotation="r1", secret="s", old="0" * 12, quiet_seconds=1, since=1)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between the turns, which take no time here."""
    found: list[float] = []
    monkeypatch.setattr(rotating, "time", SimpleNamespace(sleep=found.append, time=int))
    monkeypatch.setattr(rotating.signal, "signal", lambda *_: None)
    return found


def go_on(*turns: Callable[[], Turn]) -> Answer:
    """Carry a rotation on that is done after these turns."""
    done = Turn(FIRST.enter("done", 2.0, "done"))
    left = iter([*turns, lambda: done])

    def turn() -> Turn:
        return next(left)()

    keeper = SimpleNamespace(turn=turn, leave=lambda: None)
    opened: Any = SimpleNamespace(keeper=keeper)
    return rotating.go_on(opened, FIRST)


def test_the_pause_is_as_long_as_the_server_asks_for(pauses: list[float]) -> None:
    """The API of the keys names it in Retry-After; so does a Vault that is busy."""
    counted = replace(FIRST.note(1.0, "429"), tries=1)

    def vault() -> Turn:
        raise SourceDown("429", retry_after=60)

    go_on(lambda: Turn(counted, "429", 90.0), vault, lambda: Turn(counted, "down"))
    assert pauses[0] >= 90
    assert 60 <= pauses[1] < 90
    assert pauses[2] == rotating.LOOK_SECONDS


def test_the_code_of_an_error_is_its_own_name() -> None:
    """Not that of another error with the same exit code."""
    answer = Answer.of_error(RotationBusy("rotation r1 is planned"))
    assert answer.error is not None
    assert (answer.error.code, answer.exit_code) == ("RotationBusy", 75)


def test_no_pause_goes_beyond_the_deadline_of_a_leaked_key(pauses: list[float]) -> None:
    """Then the old key is retired, whatever failed before."""
    leaked = replace(FIRST.note(1.0, "429"), tries=1, deadline=10.0)
    go_on(lambda: Turn(leaked, "429", 90.0))
    assert pauses[0] == 10
