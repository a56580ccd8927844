"""`verify` for people, and its exit codes."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.verified import document_of, lines_of
from agent.cli.verify import _answer, _wait
from agent.domain import verified
from agent.domain.rollout import LiveTarget
from resentry.verification import Sent, Verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.verified import Part
    from agent.settings import Settings
    from resentry.contract import Receipt

NONCE = "0123456789ab"
RUNS = {"SENTRY_ENVIRONMENT": "staging", "SENTRY_RELEASE": "1.0.0"}


@pytest.fixture
def part(receipt: Callable[..., Receipt]) -> Callable[..., Part]:
    def make(pid: int, *states: str, server: str = "", **more: Any) -> Part:
        items = tuple(
            Sent(kind, state, "e" * 32, 200, 12.5)
            for kind, state in zip(("error", "transaction"), states, strict=False)
        )
        given = {"verified": Verified(NONCE, "asked", items), "values": RUNS, **more}
        target = LiveTarget(receipt(pid=pid, **given), 0)
        return verified.judge(target, NONCE, server=server)

    return make


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([("accepted",)], 0),
        ([("accepted", "unused")], 0),
        ([("unused",)], 3),
        ([("unused",), ("unused", "accepted")], 0),
        ([("accepted",), ("refused",)], 1),
        ([("accepted",), ("teleported",)], 3),
        ([("teleported",), ("refused",)], 1),
        ([], 1),
    ],
    ids=str,
)
def test_the_exit_code_is_that_of_the_worst_process(
    part: Callable[..., Part], states: list[tuple[str, ...]], expected: int
) -> None:
    """1 for a failure, 3 for what was not examined; nobody at all is a failure."""
    parts = [part(pid, *each) for pid, each in enumerate(states, 1)]
    unexamined = verified.unexamined(parts, ()) if parts else ("", "")
    answer = _answer(parts, NONCE, ["error"], unexamined, ())
    assert answer.exit_code == expected
    assert (answer.error is None) is (expected == 0)
    assert _answer(parts, NONCE, ["error"], ("too many", "doctor"), ()).exit_code in (
        expected or 3,
        3,
    )


def test_a_waiting_command_gives_signs_of_life(
    receipt: Callable[..., Receipt],
    settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The agent ends the request of a command that gives none."""
    monkeypatch.setattr("agent.cli.verify.RENEW_SECONDS", 0)
    signs: list[str] = []
    judge = partial(verified.judge, nonce=NONCE)
    asked = [LiveTarget(receipt(), 0)]
    until = time.monotonic() + 0.1
    _wait(settings(), asked, judge, until, lambda: signs.append("alive"))
    assert signs


def test_each_kind_that_was_named_must_be_examined(part: Callable[..., Part]) -> None:
    """Who names a kind that no process sends has learnt nothing of it."""
    parts = [part(1, "accepted", "unused"), part(2, "accepted", "unused")]
    assert verified.unexamined(parts, ("error",)) == ("", "")
    what, hint = verified.unexamined(parts, ("error", "transaction"))
    assert "of the kind transaction" in what
    assert hint
    assert verified.unexamined([part(3, "refused")], ("transaction",)) == ("", "")


def test_the_table_has_a_row_for_each_item(part: Callable[..., Part]) -> None:
    """What several processes have in common is said once."""
    bugsink = [part(pid, "accepted", "limited", server="bugsink") for pid in (7, 8)]
    refused = part(9, "refused")
    result = document_of([*bugsink, refused], NONCE, ["error"], "", "the end")
    head, *lines = lines_of(result)
    assert head.split()[:3] == ["role", "pid", "kind"]
    rows = [line.split() for line in lines[:5]]
    assert rows[0] == [
        *("api", "7", "error", "yes", "yes", "-", "staging", "1.0.0", "12.5")
    ]
    assert rows[1][2:6] == ["transaction", "yes", "off", "never"]
    assert rows[4][3:6] == ["yes", "no:", "refused"]
    assert lines[5:] == [
        "api pid 7, api pid 8: transaction: Bugsink keeps no transactions",
        "api pid 9: error: the server refused the DSN (status 200)",
        "  enable the key at the server, or publish another DSN",
        "the end",
    ]
