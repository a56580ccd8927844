"""What rules, ceilings and budgets do, in a process's receipt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from resentry import clock
from resentry.contract import ContractError, Receipt, decode_receipt, encode_receipt
from resentry.sampled import REFRESH_SECONDS, Counts, Sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from script import Ran

RECEIPT = Receipt("5bd28ef02add94de", "api", 7, 1, 1)
STEPS = """
from resentry import sampled
from resentry.contract import Budget, Ceiling, ErrorRule

sampled.REFRESH_SECONDS = 0.0
VALUES = {"SENTRY_DSN": os.environ["A"], "SENTRY_TRACES_SAMPLE_RATE": 1.0, "SENTRY_SAMPLE_RATE": 1.0}

def receipt():
    (own,) = receipts()
    return own
"""


def test_numbers_are_old_and_news_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a process under load would write its receipt each second."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    sampled = Sampled()
    first = Counts({}, {"transactions": 1.0})
    assert sampled.shown(first) == first
    cut = Counts({"rate": 1}, {"transactions": 0.5})
    assert sampled.shown(cut) == cut  # a new cause, and a budget that begins to cut
    more = Counts({"rate": 9}, {"transactions": 0.4})
    assert sampled.shown(more) == cut
    again = Counts({"rate": 9}, {"transactions": 1.0})
    assert sampled.shown(again) == cut
    now[0] += REFRESH_SECONDS
    assert sampled.shown(again) == again
    ended = Counts({}, {})
    assert sampled.shown(ended) == ended


def test_a_receipt_holds_the_most_of_many_causes() -> None:
    """There may be a hundred rules; the receipt stays small."""
    dropped = {f"rule {number}": number for number in range(100)}
    found = decode_receipt(encode_receipt(RECEIPT._replace(dropped=dropped)))
    assert found.dropped == {f"rule {n}": n for n in range(68, 100)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"dropped": []},
        {"dropped": {"rate": -1}},
        {"dropped": {"rate": 0.5}},
        {"dropped": {"rate": True}},
        {"budgets": None},
        {"own": [7]},
        {"own": "traces_sampler"},
        {"budgets": {"errors": 1.5}},
        {"budgets": {"errors": "1"}},
        {"budgets": {"errors": False}},
    ],
    ids=str,
)
def test_a_receipt_with_other_counts_cannot_be_read(wrong: dict[str, object]) -> None:
    """Anybody may forge a receipt."""
    document = json.loads(encode_receipt(RECEIPT)) | wrong
    with pytest.raises(ContractError, match=next(iter(wrong))):
        decode_receipt(json.dumps(document).encode())


def test_an_older_library_says_nothing() -> None:
    """That is not the same as nothing dropped."""
    document = json.loads(encode_receipt(RECEIPT._replace(dropped={}, budgets={})))
    assert decode_receipt(json.dumps(document).encode()).dropped == {}
    del document["dropped"], document["budgets"], document["own"]
    found = decode_receipt(json.dumps(document).encode())
    assert (found.dropped, dict(found.budgets), found.own) == (None, {}, None)


@pytest.mark.process
def test_a_process_tells_what_it_drops_and_what_a_budget_lets_pass(
    go: Callable[..., Ran],
) -> None:
    """Before it drops anything it says so; without budgets it names none."""
    ran = go("""
    publish(VALUES)
    resentry.init(role="api", traces_sampler=lambda _: 1.0, enable_logs=True, **QUICK)
    eventually(lambda: receipts() and receipt()["sequence"] == 1)
    nothing = receipt()
    rules = (ErrorRule(exception="KeyError", rate=0.0), ErrorRule(logger="x", rate=0.0))
    ceilings = (Ceiling(traces=0.9, match="/typo"), Ceiling(errors=1.0), Ceiling(traces=1.0))
    budgets = (Budget(transactions=3.0, errors=3.0),)
    take_up(VALUES, errors=rules, ceilings=ceilings, budgets=budgets)
    eventually(lambda: receipt()["sequence"] == 2)
    before = receipt()
    for number in range(20):
        sentry_sdk.capture_exception(KeyError(number))
        sentry_sdk.capture_exception(ValueError(number))
    eventually(lambda: receipt()["dropped"].get("budget", 0) > 10)

    def cut():
        with sentry_sdk.start_transaction(name="/pay"):
            pass
        return receipt()["budgets"]["transactions"] < 1

    eventually(cut)
    after = receipt()
    names = ("decided_errors", "matched_errors", "matched_ceilings")
    seen = [[each[name] for name in names] for each in (nothing, before, after)]
    say(seen=seen, own=after["own"], nothing=[nothing["dropped"], nothing["budgets"]], dropped=after["dropped"],
        before=[before["dropped"], before["budgets"]], budgets=after["budgets"])
    """)
    said = ran.said
    assert said["nothing"] == [{}, {}]
    assert said["before"] == [{}, {"transactions": 1.0, "errors": 1.0}]
    assert said["dropped"]["rule 0"] == 19  # the first of its class passes
    assert said["dropped"]["budget"] > 10
    assert set(said["dropped"]) == {"rule 0", "budget"}
    assert 0 <= said["budgets"]["transactions"] < 1
    assert said["own"] == ["enable_logs", "traces_sampler"]
    none = [0, "0", "0"]
    assert said["seen"] == [none, none, [10, "1", "6"]]
