"""Why a trace or an error is sent: as the engine decides, whatever the snapshot."""

from __future__ import annotations

import math
import random
import time
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from resentry import clock, error_sampling
from resentry.contract import Boost, Budget, Ceiling, ErrorRule, Rule, Snapshot
from resentry.error_sampling import ErrorSampler, Kind
from resentry.explanation import (
    LACKS_HERE,
    LACKS_UPSTREAM,
    MAY_LACK,
    Explanation,
    Told,
    explain_error,
    explain_trace,
)
from resentry.formats import time_text
from resentry.sampling import Sampler, rate_of
from resentry.sdk import tracing
from resentry.steps import IN_PROCESS, Own

NAMES = ("GET /pay", "GET /pay/1", "POST /pay", "app.tasks.mail")
PATTERNS = ("GET /pay", "GET /pay*", "*", "POST *", "app.*", "other")
CLASSES = ("app.errors.Declined", "app.errors.Base", "builtins.Exception")
RATES = (0.0, 0.1, 0.25, 0.5, 1.0)
ODD = (Decimal("0.5"), Fraction(1, 4), True, 7, -1, "0.5", math.nan)


@pytest.fixture(autouse=True)
def _still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: 1000.0)


def _until(seconds: float) -> str:
    return time_text(time.time() + seconds)


def _snapshot(draw: random.Random) -> Snapshot:
    def some(make: Any, most: int = 3) -> tuple[Any, ...]:
        return tuple(make() for _ in range(draw.randint(0, most)))

    def scope() -> dict[str, Any]:
        return {"role": draw.choice([None, None, "api", "celery"])}

    def rule() -> Rule:
        keep = draw.choice([None, "keep"])
        return Rule(draw.choice(PATTERNS), draw.choice(RATES), parent=keep, **scope())

    def boost() -> Boost:
        until = _until(draw.choice([-60, 600]))
        match, keep = draw.choice([None, *PATTERNS]), draw.choice([None, "keep"])
        return Boost("b1", draw.choice(RATES), until, match, parent=keep, **scope())

    def ceiling() -> Ceiling:
        until = draw.choice([None, _until(-60), _until(600)])
        match = draw.choice([None, *PATTERNS])
        rates = draw.choice(RATES), draw.choice(RATES)
        return Ceiling(*rates, until, match, **scope())

    def error() -> ErrorRule:
        named = draw.choice([None, *CLASSES, "app.errors.*", "other.Error"])
        logger = draw.choice([None, None, "app", "other"])
        limit = draw.choice([None, 1.0])
        rate = draw.choice([*RATES, None]) if limit else draw.choice(RATES)
        return ErrorRule(named, logger, rate=rate, per_minute=limit)

    def budget() -> Budget:
        return Budget(draw.choice([60, 600]), draw.choice([60, 600]), **scope())

    return Snapshot(
        {}, {}, some(rule), some(boost, 1), ceilings=some(ceiling), errors=some(error),
        budgets=some(budget, 1),
    )  # fmt: skip


def _spend(draw: random.Random, sampler: Sampler | ErrorSampler) -> None:
    if sampler.budget is not None:
        sampler.budget._now = lambda at=sampler.budget._state[1]: at
        for _ in range(draw.choice([0, 2, 35, 45, 55, 1000])):
            sampler.budget.spend()


@pytest.mark.parametrize("seed", range(300))
def test_a_trace_is_explained_as_it_is_decided(seed: int) -> None:
    """By boosts, rules, parents, an own sampler, rates, ceilings, budgets."""
    draw = random.Random(seed)
    sampler = Sampler(_snapshot(draw), "api")
    _spend(draw, sampler)
    name, parent = draw.choice(NAMES), draw.choice([None, True, False])
    rate, own = draw.choice([None, *RATES]), draw.choice([None, *RATES, *ODD])
    context = {"transaction_context": {"name": name}, "parent_sampled": parent}
    counts = sampler.counts
    found = explain_trace(
        sampler,
        name,
        parent=parent,
        rate=rate,
        own=None if own is None else Own(own, ""),
    )
    assert sampler.counts == counts
    decided: Any
    if own is not None:
        decided = rate_of(sampler.before(lambda _: own)(context)) or 0.0
    else:
        options = {"traces_sample_rate": rate}
        client = SimpleNamespace(sampling=sampler, options=options)
        decision = tracing._decide(client, context)
        decided = decision.rate if decision else rate
        if decision is None and rate is not None and parent is not None:
            decided = parent  # the SDK decides
    assert found.rate == decided
    _is_whole(found)
    streamed = explain_trace(
        sampler, name, parent=parent, own=Own(1.0, ""), follows_caller=True
    )
    alone = explain_trace(sampler, name, parent=parent, follows_caller=True)
    if parent and alone.decided_by == "parent":
        assert alone.rate == sampler.bound_yes(context)
    assert streamed.decided_by != "parent"


@pytest.mark.parametrize("seed", range(300))
def test_an_error_is_explained_as_it_is_decided(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By rules, limits, the first of a class, an own sampler, rates, ceilings, budgets."""
    draw = random.Random(seed)
    rate, own = draw.choice(RATES), draw.choice([None, *RATES, *ODD])
    given: Any = rate if own is None else lambda *_: own
    sampler = ErrorSampler(_snapshot(draw), "api", given)
    kind = Kind(CLASSES[draw.randint(0, 2) :], draw.choice(["app", ""]))
    name = draw.choice(NAMES)
    event = {"logger": kind.logger, "transaction": name}
    monkeypatch.setattr(error_sampling, "kind_of", lambda *_: kind)
    monkeypatch.setattr(error_sampling, "_draw", lambda: 0.0)
    _spend(draw, sampler)
    for _ in range(draw.choice([0, 1, 20])):
        sampler(event, {})
    found = explain_error(
        sampler, kind, name=name, rate=rate, own=None if own is None else Own(own, "")
    )
    _is_whole(found)
    assert found == explain_error(
        sampler, kind, name=name, rate=rate, own=None if own is None else Own(own, "")
    ), "nothing is spent"
    share = {step.name: step for step in found.steps}["budget"].rate
    draws = iter([])
    monkeypatch.setattr(error_sampling, "_draw", lambda: next(draws))
    if found.rate:
        draws = iter([0.0, 0.0])
        assert sampler(event, {}) == 1.0
    elif share is None or share > 0:
        draws = iter([0.0, 0.0])
        assert sampler(event, {}) == 0.0
    bound = (found.rate or 0.0) / (share or 1.0)
    if 0 < bound < 1:
        draws = iter([bound + 0.01, 0.0])
        again = explain_error(sampler, kind, name=name, rate=rate)
        if again.decided_by == found.decided_by:
            assert sampler(event, {}) == 0.0


def _is_whole(found: Explanation) -> None:
    names = [step.name for step in found.steps]
    assert found.decided_by in names
    assert set(found.bounded_by) <= {"ceiling", "budget"}
    assert found.sentence in str(found)
    assert len(str(found).splitlines()) == 1 + len(names) + bool(found.gap)


def of(*rules: Rule, **more: Any) -> Sampler:
    return Sampler(Snapshot({}, rules=rules, **more), "api")


def test_each_step_says_what_it_would_have_said() -> None:
    """Beside the one that decides."""
    sampler = of(
        Rule("GET *", 0.5),
        boosts=(Boost("b1", 1.0, _until(600), match="GET /pay"),),
        ceilings=(Ceiling(traces=0.2),),
        budgets=(Budget(600),),
    )
    found = explain_trace(sampler, "GET /pay", parent=False, rate=0.1, own=Own(0.3, ""))
    assert {step.name: step.rate for step in found.steps} == {
        "boost": 1.0,
        "rule": 0.5,
        "parent": 0.0,
        "sampler": 0.3,
        "rate": 0.1,
        "ceiling": 0.2,
        "budget": 1.0,
    }
    assert (found.decided_by, found.bounded_by, found.rate) == (
        "boost",
        ("ceiling",),
        0.2,
    )
    assert found.sentence == (
        'traces of "GET /pay": boost decides: 1, lowered to 0.2 by ceiling'
    )


@pytest.mark.parametrize(
    ("parent", "rules", "more", "gap"),
    [
        (False, (Rule("*", 0.5),), {}, LACKS_UPSTREAM),
        (None, (Rule("*", 0.5),), {}, MAY_LACK),
        (False, (Rule("*", 0.5, parent="keep"),), {}, ""),
        (False, (Rule("*", 0.0),), {}, ""),
        (True, (Rule("*", 0.5),), {}, LACKS_HERE),
        (True, (), {"ceilings": (Ceiling(traces=0.5),)}, LACKS_HERE),
        (True, (), {}, ""),
        (None, (), {}, ""),
    ],
)
def test_which_part_of_a_trace_is_missing(
    parent: bool | None,  # noqa: FBT001
    rules: tuple[Rule, ...],
    more: Any,
    gap: str,
) -> None:
    """The upstream part, or the part of this process."""
    found = explain_trace(of(*rules, **more), "GET /pay", parent=parent, rate=0.1)
    assert found.gap == gap


def test_what_the_application_samples_itself_is_only_bounded() -> None:
    """With sampled=True it has decided, but with tracing off nothing is sent."""
    sampler = of(Rule("*", 0.0), ceilings=(Ceiling(traces=0.2),))
    found = explain_trace(sampler, "GET /pay", parent=False, rate=0.1, sampled=True)
    assert found.steps[0].name == "sampled"
    assert found.sentence.endswith("sampled decides: 1, lowered to 0.2 by ceiling")
    assert found.gap == LACKS_UPSTREAM
    unknown = Own(None, "not known here", is_known=False)
    assert explain_trace(of(), "x", rate=0.1, own=unknown, sampled=True).is_sure
    found = explain_trace(sampler, "x", own=Own(0.0, ""), sampled=True)
    assert (found.decided_by, found.rate) == ("sampled", 0.2)
    found = explain_trace(of(Rule("*", 0.5)), "x", sampled=True)
    assert (found.decided_by, found.rate) == ("rate", None)


@pytest.mark.parametrize("sampled", [False, True])
def test_the_application_can_switch_tracing_off(*, sampled: bool) -> None:
    """Then no rule counts, and a caller only where spans are streamed."""
    sampler, given = of(Rule("*", 0.5)), {"own": Own(0.3, ""), "rate": 0.1}
    given |= {"is_off": True, "sampled": sampled}
    found = explain_trace(sampler, "x", **given)
    assert (found.decided_by, found.rate, found.is_sure) == ("rate", None, True)
    assert "enable_tracing=False" in str(found)
    streamed = explain_trace(sampler, "x", parent=True, follows_caller=True, **given)
    assert (streamed.decided_by, streamed.rate) == ("parent", 1.0)


def test_a_sampler_that_is_not_known_is_no_answer() -> None:
    """Where a rule decides, it does not matter."""
    unknown = Own(None, "not known here", is_known=False)
    found = explain_trace(of(), "GET /pay", rate=0.1, own=unknown)
    assert (found.decided_by, found.rate, found.is_sure) == ("rate", 0.1, False)
    assert "a sampler of the application's own would decide instead" in found.sentence
    found = explain_trace(of(Rule("*", 0.5)), "GET /pay", rate=0.1, own=unknown)
    assert (found.decided_by, found.is_sure) == ("rule", True)


def test_a_caller_counts_with_tracing_off_where_spans_are_streamed() -> None:
    """Outside the process that is not known."""
    sampler = of(ceilings=(Ceiling(traces=0.2),))
    here = explain_trace(sampler, "GET /pay", parent=True, follows_caller=True)
    assert here.sentence.endswith("parent decides: 1, lowered to 0.2 by ceiling")
    off = explain_trace(sampler, "GET /pay", parent=True)
    assert (off.decided_by, off.rate) == ("rate", None)
    outside = explain_trace(sampler, "GET /pay", parent=True, told=Told())
    assert outside.rate is None
    assert any(IN_PROCESS in step.text for step in outside.steps)
    no = explain_trace(sampler, "GET /pay", parent=False, told=Told())
    assert not any(IN_PROCESS in step.text for step in no.steps)
