"""Error rules, ceilings and budgets: which errors are sent, and what is counted."""

from __future__ import annotations

import pickle
import random
from typing import Any

import pytest

from resentry import clock, error_sampling
from resentry.contract import Budget, Ceiling, ErrorRule, Snapshot
from resentry.error_sampling import ErrorSampler, class_names


class DeclinedError(ValueError):
    """An error of the application."""


HERE = f"{__name__}.DeclinedError"


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_sampling, "_draw", random.Random(7).random)


def of(
    *rules: ErrorRule,
    otherwise: Any = 1.0,
    role: str = "api",
    earlier: ErrorSampler | None = None,
    **more: Any,
) -> ErrorSampler:
    return ErrorSampler(Snapshot({}, errors=rules, **more), role, otherwise, earlier)


def hint(kind: type[BaseException]) -> dict[str, Any]:
    return {"exc_info": (kind, kind("x"), None)}


def sent(
    sampler: ErrorSampler, count: int, kind: type = DeclinedError, **event: Any
) -> int:
    """Return how many of so many errors are sent."""
    return sum(bool(sampler(event, hint(kind))) for _ in range(count))


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (ErrorRule(exception=HERE), True),
        (ErrorRule(exception="ValueError"), True),
        (ErrorRule(exception="builtins.Exception"), True),
        (ErrorRule(exception="*.DeclinedError"), True),
        (ErrorRule(exception="builtins.object"), False),
        (ErrorRule(exception="DeclinedError"), False),
        (ErrorRule(logger="django.request"), True),
        (ErrorRule(logger="django.*"), True),
        (ErrorRule(logger="flask"), False),
        (ErrorRule(role="api"), True),
        (ErrorRule(role="celery"), False),
        (ErrorRule(exception="ValueError", logger="django.*", role="api"), True),
        (ErrorRule(exception="ValueError", logger="flask"), False),
    ],
)
def test_a_rule_fits_by_class_base_logger_and_role(
    rule: ErrorRule, *, fits: bool
) -> None:
    """All that it names must fit."""
    sampler = of(rule._replace(rate=0.0))
    assert sent(sampler, 100, logger="django.request") == (1 if fits else 100)
    assert sampler.memory.dropped == ({"rule 0": 99} if fits else {})


def test_the_first_rule_that_fits_decides_and_else_the_application() -> None:
    """Its own sampler is asked only then, and its odd answers reach the SDK."""
    asked = []

    def own(event: Any, hint: Any) -> Any:
        asked.append((event, hint))
        return "odd"

    sampler = of(
        ErrorRule(exception="ValueError", rate=0.0),
        ErrorRule(exception="Exception", rate=1.0),
        otherwise=own,
    )
    assert sent(sampler, 10, ValueError) == 1
    assert sent(sampler, 10, OSError) == 10
    assert asked == []
    assert sampler({}, hint(KeyboardInterrupt)) == "odd"
    assert len(asked) == 1
    assert of(otherwise=0.0)({}, hint(OSError)) == 0.0


def test_the_first_of_each_class_passes() -> None:
    """For each rule; a bounded number of classes is remembered."""
    sampler = of(ErrorRule(exception="Exception", rate=0.0))
    kinds = [type(f"Kind{n}", (Exception,), {}) for n in range(1100)]
    assert sum(sent(sampler, 2, kind) for kind in kinds) == 1000
    assert sampler.memory.dropped == {"rule 0": 1200}


def test_a_limit_holds_in_any_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many pass at once, and the next one a minute after the first."""
    now = [0.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    sampler = of(ErrorRule(exception="ValueError", per_minute=5))
    assert sent(sampler, 100) == 5
    now[0] = 59.9
    assert sent(sampler, 100) == 0
    now[0] = 60.1
    assert sent(sampler, 100) == 5
    both = of(ErrorRule(exception="ValueError", rate=0.5, per_minute=40))
    assert 20 <= sent(both, 60) < 40
    assert sent(both, 200) + 20 <= 40


def test_a_ceiling_bounds_every_error_and_says_never_yes() -> None:
    """Also the first of its class, and what the application's own sampler wants."""
    sampler = of(
        ErrorRule(exception="ValueError", rate=1.0), ceilings=(Ceiling(errors=0.0),)
    )
    assert sent(sampler, 100) == 0
    assert sampler.memory.dropped == {"ceiling": 100}
    half = of(otherwise=1.0, ceilings=(Ceiling(errors=0.5), Ceiling(traces=0.0)))
    assert sent(half, 1000) == pytest.approx(500, rel=0.1)
    low = of(otherwise=0.1, ceilings=(Ceiling(errors=0.5),))
    assert sent(low, 1000) == pytest.approx(100, rel=0.3)
    named = of(ceilings=(Ceiling(errors=0.0, match="POST *"),))
    assert sent(named, 10, transaction="POST /pay") == 0
    assert sent(named, 10, transaction="GET /") == 10


def test_a_budget_bounds_errors_but_the_first_of_its_class() -> None:
    """What a rule names goes before the rest."""
    sampler = of(
        ErrorRule(exception="ValueError", rate=1.0), budgets=(Budget(errors=600),)
    )
    assert 50 <= sent(sampler, 1000, OSError) < 70
    assert sent(sampler, 5) == 5
    assert sampler.memory.dropped["budget"] > 900


def test_limits_and_counts_go_on_in_the_next_snapshot() -> None:
    """As long as the rules are the same."""
    rule = ErrorRule(exception="ValueError", per_minute=5)
    first = of(rule)
    assert sent(first, 10) == 5
    then = of(rule, earlier=first)
    assert sent(then, 10) == 0
    assert then.memory.dropped == {"rule 0": 15}
    assert sent(of(rule._replace(per_minute=6), earlier=first), 10) == 6


def test_what_fails_sends_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is odd is decided as without rules."""
    sampler = of(ErrorRule(exception="ValueError", rate=0.0))
    for event in ({"exception": {"values": [None]}}, {"exception": 7}):
        assert sampler(event, {}) == 1.0
    assert sampler({"exception": {"values": [{"module": "m", "type": "E"}]}}, {}) == 1.0
    monkeypatch.setattr(error_sampling, "_draw", None)
    assert sampler({}, hint(ValueError)) == 0.0


def test_the_names_of_a_class_are_dotted() -> None:
    """Those of Python have a short form, too."""
    assert class_names(DeclinedError)[:3] == (HERE, "builtins.ValueError", "ValueError")


def test_a_sampler_can_be_pickled() -> None:
    """As the SDK's own client can."""
    sampler = of(ErrorRule(exception="ValueError", rate=0.0, per_minute=3))
    assert pickle.loads(pickle.dumps(sampler))({}, hint(OSError)) == 1.0
