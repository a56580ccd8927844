"""What a process's test items mean: "not known" never becomes "yes"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.domain import verified
from agent.domain.rollout import LiveTarget
from agent.domain.verified import BUGSINK, judge, overdue, read_back
from resentry.contract import decode_receipt, encode_receipt
from resentry.verification import UNABLE, Sent, Verified

if TYPE_CHECKING:
    from collections.abc import Callable

    from resentry.contract import Receipt

    Make = Callable[..., Receipt]

NONCE = "0123456789ab"


def target(receipt: Make, *states: str, **values: Any) -> LiveTarget:
    """Return a process that was asked, and whose items became that."""
    kinds = ("error", "transaction", "log")
    items = tuple(
        Sent(kind, state, "e" * 32, 200, 1.0)
        for kind, state in zip(kinds, states, strict=False)
    )
    given = {"verified": Verified(NONCE, "asked", items), **values}
    return LiveTarget(receipt(**given), 0)


@pytest.mark.parametrize(
    ("states", "verdict"),
    [
        (("accepted", "accepted"), "passed"),
        (("accepted", "unused"), "passed"),
        (("unused",), "off"),
        (("accepted", "handed"), "waiting"),
        (("refused", "accepted"), "failed"),
        (("limited",), "failed"),
        (("failed",), "failed"),
        (("unreached",), "failed"),
        (("accepted", "teleported"), "unknown"),
        (("accepted", "busy"), "unknown"),
        (("swapped", "swapped"), "unknown"),
        (("refused", "teleported"), "failed"),
    ],
    ids=str,
)
def test_the_worst_item_decides(
    receipt: Make, states: tuple[str, ...], verdict: str
) -> None:
    """A state that only a newer library knows is unknown."""
    part = judge(target(receipt, *states), NONCE)
    assert part.verdict == verdict
    assert all(
        item.hint for item in part.items if item.verdict in ("failed", "unknown")
    )


def test_a_kind_that_a_process_says_nothing_of_is_not_known(receipt: Make) -> None:
    """A library of another version may know other kinds."""
    one = target(receipt, "accepted")
    assert judge(one, NONCE, ("error",)).verdict == "passed"
    part = judge(one, NONCE, ("error", "span"))
    assert [item.verdict for item in part.items] == ["passed", "unknown"]
    assert part.verdict == "unknown"
    assert judge(target(receipt), NONCE, ("error",)).verdict == "unknown"


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        ("foreign", "failed"),
        ("forbidden", "unknown"),
        ("off", "failed"),
        ("elsewhere", "unknown"),
    ],
)
def test_a_process_that_sends_nothing_says_why(
    receipt: Make, state: str, verdict: str
) -> None:
    """Each with what to do. Off without a switch means that there is no DSN."""
    part = judge(target(receipt, verified=Verified(NONCE, state)), NONCE)
    assert (part.verdict, bool(part.hint)) == (verdict, True)


def test_only_a_role_that_is_switched_off_is_off(receipt: Make) -> None:
    """The switch is for the role celery alone."""
    values = {"SENTRY_ENABLE_FOR_CELERY": False}
    off = Verified(NONCE, "off")
    for role, verdict in (("celery", "off"), ("api", "failed")):
        one = target(receipt, role=role, values=values, verified=off)
        assert judge(one, NONCE).verdict == verdict
        assert verified.expect(one).verdict == verdict


def test_an_older_library_is_named_and_not_waited_for(receipt: Make) -> None:
    """Its receipt lacks the field; a library that was not asked yet says null."""
    body = encode_receipt(receipt())
    assert decode_receipt(body).verified is None
    older = decode_receipt(body.replace(b'"verified": null, ', b""))
    assert older.verified == UNABLE
    part = judge(LiveTarget(older, 0), NONCE)
    assert (part.verdict, part.hint) == (
        "unknown",
        "update the package resentry in the application",
    )
    assert verified.expect(LiveTarget(older, 0)).verdict == "unknown"


def test_who_does_not_answer_in_time_has_failed(receipt: Make) -> None:
    """An answer to an earlier request is none, nor is an item that only was handed over."""
    for one in (
        target(receipt, verified=Verified("b" * 12, "asked")),
        target(receipt, verified=None),
        target(receipt, "accepted", "handed"),
        target(receipt, verified=None, watch="inotify, greenlet"),
    ):
        waiting = judge(one, NONCE)
        assert waiting.verdict == "waiting"
        late = overdue(waiting)
        assert late.verdict == "failed"
        assert verified.reason_of(late)[1]
    unreadable = LiveTarget.unreadable("0" * 16, 7, "no receipt")
    assert judge(unreadable, NONCE).verdict == "unknown"


def test_bugsink_keeps_errors_and_messages_alone(receipt: Make) -> None:
    """It answers 200 to the others, or a rate limit; neither is a success or a failure."""
    one = target(receipt, "accepted", "limited", "accepted")
    part = judge(one, NONCE, server=BUGSINK)
    assert [item.verdict for item in part.items] == ["passed", "off", "off"]
    assert [item.stored for item in part.items] == ["not asked", "never", "never"]
    assert part.sentence == "1 of 1 items accepted"
    assert judge(target(receipt, "limited"), NONCE, server=BUGSINK).verdict == "failed"


def test_what_was_stored_must_be_what_runs(receipt: Make) -> None:
    """Missing is a failure; another environment, too; not known is not examined."""
    (item,) = judge(target(receipt, "accepted"), NONCE).items
    ran = ("production", None)
    assert read_back(item, "yes", "production", "", ran=ran).verdict == "passed"
    assert read_back(item, "no").verdict == "failed"
    assert read_back(item, "unknown", why="no answer").verdict == "unknown"
    other = read_back(item, "yes", "staging", "", ran=ran)
    assert other.verdict == "failed"
    assert "'staging'" in other.sentence
    (failed,) = judge(target(receipt, "refused"), NONCE).items
    assert read_back(failed, "yes") == failed
