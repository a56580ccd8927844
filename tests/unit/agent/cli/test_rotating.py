"""How `rotate` carries a rotation on: its pauses, and the name of an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from agent.cli import rotate, rotating
from agent.cli.answer import Answer
from agent.errors import SourceDown
from agent.rotation.journal import Journal
from agent.rotation.keeper import RotationBusy, Turn
from agent.rotation.open import Choice

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


def test_an_abort_from_elsewhere_is_carried_out_by_the_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And by who aborts, if the holder shows no life until its lock ends."""
    monkeypatch.setattr(rotating, "time", SimpleNamespace(sleep=id, time=lambda: 9.0))
    said: list[str] = []
    monkeypatch.setattr(rotating.stderr, "say", said.append)
    aborting = replace(FIRST, is_aborting=True, holder="host pid 7", until=60.0)
    left = replace(aborting, until=8.0)
    decided: list[Journal] = []

    def ends(*looks: Journal) -> Journal:
        files, tries = iter(looks), iter([True, False])

        def take() -> Journal:
            if next(tries):
                raise RotationBusy("host pid 7 carries rotation r1 on")
            return replace(left, holder="us")

        keeper = SimpleNamespace(
            decide=lambda decision: decided.append(decision(FIRST)), take=take
        )
        opened: Any = SimpleNamespace(
            keeper=keeper,
            file=SimpleNamespace(load=lambda: (next(files), 1)),
            secret=SimpleNamespace(path="s"),
        )
        return rotate._changed(opened, Choice("s"), is_aborting=True)

    assert ends(aborting, aborting.enter("aborted", 2.0, "back")).phase == "aborted"
    assert said[0].startswith("host pid 7 carries rotation r1 on, and takes this deci")
    assert decided[0].is_aborting
    assert ends(aborting, left).holder == "us"
