"""Whether a server refuses a key: several answers say so, and it stays so meanwhile."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from agent.domain.dsn_check import Times
from agent.dsn_check.checker import Checker
from agent.rotation.world import Refusals
from lab.process import eventually
from tests.unit.agent.rotation.world import dsn

if TYPE_CHECKING:
    from agent.domain.dsn_check import Answer

TIMES = Times(0.5)


@pytest.mark.slow
def test_a_refused_key_stays_so_until_the_server_accepts_it() -> None:
    """Each check begins with one answer; a step asks often, also in the midst of one."""
    answers: list[Answer] = ["good"]
    asked: list[str] = []

    def send(text: str, limit: float) -> Answer:
        del limit
        asked.append(text)
        return answers[-1]

    is_refused = Refusals(Checker(TIMES, send))
    eventually(lambda: is_refused(dsn(1)) or len(asked) >= 5, what="several checks")
    assert not is_refused(dsn(1))
    answers.append("denied")
    eventually(lambda: is_refused(dsn(1)), what="a refusal")
    told: set[bool] = set()
    until = len(asked) + 8  # two checks more
    eventually(lambda: told.add(is_refused(dsn(1))) or len(asked) >= until)
    assert told == {True}
    answers.append("good")
    eventually(lambda: not is_refused(dsn(1)), what="the key is accepted again")


def test_one_answer_that_accepts_a_key_ends_its_refusal() -> None:
    """Servers cache: one of several may still know the key, in the midst of a check."""
    said: dict[str, Any] = {}
    checker: Any = SimpleNamespace(
        ask=lambda *_, **__: [SimpleNamespace(**said)],
        last=lambda _: said["last"],
        again=id,
    )
    is_refused = Refusals(checker)

    def told(verdict: str, last: str, *, settled: bool) -> bool:
        said.update(verdict=verdict, last=last, settled=settled)
        return is_refused(dsn(1))

    assert not told("rejected_once", "denied", settled=False)
    assert told("rejected", "denied", settled=True)
    assert told("rejected_once", "denied", settled=False)
    assert not told("rejected", "good", settled=True)  # the verdict of the check before
    assert not told("rejected_once", "denied", settled=False)
    assert told("rejected", "denied", settled=True)
    assert told("rejected", "none", settled=True)  # no answer undoes nothing
    assert not told("unknown", "none", settled=True)
