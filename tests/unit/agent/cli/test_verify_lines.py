"""`verify` for people, and its exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.cli.verified import document_of, lines_of
from agent.cli.verify import _answer
from agent.domain import verified
from agent.domain.rollout import LiveTarget
from resentry.verification import Sent, Verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.verified import Part
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
        ([("unused",)], 0),
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
    """1 for a failure, 3 for what could not be examined; nobody at all is a failure."""
    parts = [part(pid, *each) for pid, each in enumerate(states, 1)]
    answer = _answer(parts, NONCE, ["error"], "", ())
    assert answer.exit_code == expected
    assert (answer.error is None) is (expected == 0)
    assert _answer(parts, NONCE, ["error"], "too many", ()).exit_code in (
        expected or 3,
        3,
    )


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
