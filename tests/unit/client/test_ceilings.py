"""Ceilings and budgets of traces: they bound what was decided, and never say yes."""

from __future__ import annotations

import math
import pickle
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from sentry_sdk.utils import is_valid_sample_rate

from resentry import clock
from resentry.contract import Boost, Budget, Ceiling, Rule, Snapshot, time_text
from resentry.sampling import Sampler, budget_of, rate_of

LATER, BEFORE = "2100-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
KINDS = {Rule: "rules", Boost: "boosts", Ceiling: "ceilings", Budget: "budgets"}


def context(parent: bool | None = None, name: str = "checkout") -> dict[str, Any]:  # noqa: FBT001
    return {"transaction_context": {"name": name}, "parent_sampled": parent}


def of(*items: Any, role: str = "api") -> Sampler:
    """Return the sampler of a snapshot with these."""
    lists = {
        name: tuple(item for item in items if isinstance(item, kind))
        for kind, name in KINDS.items()
    }
    return Sampler(Snapshot({}, **lists), role)  # type: ignore[arg-type]


def decided(sampler: Sampler, plain: Any, parent: bool | None = None) -> Any:  # noqa: FBT001
    """Return the rate; `plain` is what the application's own sampler says."""
    return sampler.before(lambda _: plain)(context(parent))


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([Ceiling(traces=0.1)], 0.1),
        ([Ceiling(traces=0.9)], 0.5),
        ([Ceiling(traces=0.1), Rule("checkout", 1.0)], 0.1),
        ([Ceiling(traces=0.1), Boost("b", 1.0, LATER)], 0.1),
        ([Ceiling(traces=0.1), Rule("checkout", 0.05)], 0.05),
        ([Ceiling(traces=0.1), Rule("checkout", 0.0)], 0.0),
        ([Ceiling(traces=0.1), Ceiling(traces=0.2)], 0.1),
        ([Ceiling(traces=0.1, match="other")], 0.5),
        ([Ceiling(traces=0.1, match="check*")], 0.1),
        ([Ceiling(traces=0.1, role="celery")], 0.5),
        ([Ceiling(traces=0.1, role="api")], 0.1),
        ([Ceiling(traces=0.1, until=BEFORE)], 0.5),
        ([Ceiling(traces=0.1, until=LATER)], 0.1),
        ([Ceiling(errors=0.1)], 0.5),
        ([Ceiling(traces=0.0)], 0.0),
    ],
)
def test_the_lowest_ceiling_that_fits_bounds_whatever_decides(
    items: list[Any], expected: float
) -> None:
    """A rule, a boost, the application's own sampler."""
    assert decided(of(*items), 0.5) == expected


def test_a_clock_that_is_set_back_prolongs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And one that is ahead for a moment ends nothing for good."""
    wall, steady = time.time(), clock.monotonic()
    until = time_text(wall + 60, "seconds")
    sampler = of(Ceiling(traces=0.1, until=until), Boost("b", 0.9, until, "pay"))
    for moved, passed, is_over in (
        (0, 0, False),
        (7200, 10, True),
        (20, 20, False),
        (-86400, 62, True),
    ):
        monkeypatch.setattr(time, "time", lambda at=wall + moved: at)
        monkeypatch.setattr(clock, "monotonic", lambda at=steady + passed: at)
        assert decided(sampler, 0.5) == (0.5 if is_over else 0.1)
        assert sampler.choose(context(name="pay")).rate == (None if is_over else 0.9)


@pytest.mark.parametrize("plain", [False, 0.0, 0, None, math.nan, 7, "x"])
def test_a_no_stays_a_no(plain: Any) -> None:
    """And what the SDK would not take as a rate reaches it as it is."""
    for bound in (Ceiling(traces=0.5), Budget(transactions=60)):
        got = decided(of(bound), plain)
        assert got is plain


@pytest.mark.parametrize(
    "value",
    [Decimal(1), Fraction(1), True, 1, Decimal("0.5"), Fraction(1, 2)],
    ids=repr,
)
def test_each_rate_that_the_sdk_takes_is_bounded(value: Any) -> None:
    """An own sampler may return any number."""
    assert decided(of(Ceiling(traces=0.0)), value) == 0.0
    assert decided(of(Ceiling(traces=0.25)), value) == 0.25
    assert decided(of(Budget(transactions=60)), value) == float(value)


@pytest.mark.parametrize(
    "value",
    [Decimal("0.3"), Fraction(1, 3), True, 0, 1.0, 7, -0.1, None, "0.5", math.nan, Decimal("nan")],
    ids=repr,
)  # fmt: skip
def test_a_rate_is_what_the_sdk_takes_for_one(value: Any) -> None:
    """And nothing else is."""
    assert (rate_of(value) is not None) == is_valid_sample_rate(value, source="test")


def test_a_yes_is_bounded_like_a_rate_of_one() -> None:
    """So a caller's yes is compared with the trace's own random number."""
    assert decided(of(Ceiling(traces=0.25)), plain=True) == 0.25


@pytest.mark.parametrize("parent", [True, False])
def test_a_parent_that_is_kept_stands_above_rule_and_boost(*, parent: bool) -> None:
    """Where there is none, they decide."""
    for item in (
        Rule("checkout", 0.3, parent="keep"),
        Boost("b", 0.3, LATER, parent="keep"),
    ):
        assert decided(of(item), parent, parent) is parent
        assert decided(of(item), 0.5) == 0.3
        assert decided(of(item, Ceiling(traces=0.1)), parent, parent) == min(
            parent, 0.1
        )


def test_a_budget_is_that_of_the_role_or_of_all() -> None:
    """And the same one goes on in the next snapshot."""
    budgets = (Budget(transactions=60), Budget(transactions=6, role="celery"))
    snapshot = Snapshot({}, budgets=budgets)
    api, celery = (
        budget_of(snapshot, r, "transactions", None) for r in ("api", "celery")
    )
    assert api is not None
    assert celery is not None
    assert (api.per_minute, celery.per_minute) == (60, 6)
    assert budget_of(snapshot, "api", "transactions", api) is api
    assert budget_of(snapshot, "celery", "transactions", api) is not api
    assert budget_of(snapshot, "api", "errors", api) is None


def test_a_role_s_budget_of_one_kind_leaves_that_of_all_for_the_other() -> None:
    """Of two budgets for the same events, the first counts."""
    budgets = (
        Budget(transactions=60, errors=30),
        Budget(transactions=6, role="celery"),
        Budget(errors=3, role="api"),
        Budget(transactions=9, errors=9, role="api"),
        Budget(errors=99),
    )
    snapshot = Snapshot({}, budgets=budgets)
    found = {
        (role, kind): budget.per_minute
        for role in ("web", "celery", "api")
        for kind in ("transactions", "errors")
        if (budget := budget_of(snapshot, role, kind, None)) is not None
    }
    assert found == {
        ("web", "transactions"): 60,
        ("web", "errors"): 30,
        ("celery", "transactions"): 6,
        ("celery", "errors"): 30,
        ("api", "transactions"): 9,
        ("api", "errors"): 3,
    }


def test_what_a_rule_names_goes_first_in_a_budget() -> None:
    """Until then the rest is cut, smoothly, and only by what was sampled."""
    sampler = of(Budget(transactions=60), Rule("vip", 1.0))
    vip = sampler.choose(context(name="vip"))
    assert (decided(sampler, 1.0), sampler.bound(1.0, vip)) == (1.0, 1.0)
    for _ in range(31):
        assert decided(sampler, 1.0) == 1.0
        sampler.passed()
    assert decided(sampler, 1.0) == pytest.approx(0.0, abs=0.3)
    for _ in range(10):
        assert sampler.bound(1.0, vip) == 1.0
        sampler.passed()
    sampler.passed()
    assert sampler.bound(1.0, vip) == pytest.approx(0.0, abs=0.3)


def test_a_bounded_client_can_be_pickled() -> None:
    """As the SDK's own can, with the sampler in its options."""
    sampler = of(Ceiling(traces=0.1), Budget(transactions=60)).before(half)
    assert pickle.loads(pickle.dumps(sampler))(context()) == 0.1


def half(_: Any) -> float:
    """Say what the application's own sampler says."""
    return 0.5
