"""Error rules, ceilings and budgets: which errors are sent, and what is counted."""

from __future__ import annotations

import math
import os
import pickle
import random
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import sentry_sdk
from sentry_sdk import Client, Transport

from resentry import clock, error_sampling
from resentry.contract import Budget, Ceiling, ErrorRule, Snapshot
from resentry.error_sampling import ErrorSampler, class_names
from resentry.process import here

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope


class _Kept(Transport):
    envelopes: ClassVar[list[Envelope]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


def _fails(id: int) -> None:  # noqa: A002 - the name in the route
    raise DeclinedError(id)


class DeclinedError(ValueError):
    """An error of the application."""


HERE = f"{__name__}.DeclinedError"


@pytest.fixture(autouse=True)
def _drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(error_sampling, "_draw", random.Random(7).random)
    here().sampled.dropped.clear()


def dropped() -> dict[str, int]:
    """Return what was dropped, by cause, and count from zero again."""
    counts = here().sampled.dropped
    found = counts.copy()
    counts.clear()
    return found


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
    assert dropped() == ({"rule 0": 99} if fits else {})


def test_the_first_rule_that_fits_decides_and_else_the_application() -> None:
    """Its own sampler is asked only then."""
    asked = []

    def own(event: Any, hint: Any) -> Any:
        asked.append((event, hint))
        return 0.0

    sampler = of(
        ErrorRule(exception="ValueError", rate=0.0),
        ErrorRule(exception="Exception", rate=1.0),
        otherwise=own,
    )
    assert sent(sampler, 10, ValueError) == 1
    assert sent(sampler, 10, OSError) == 10
    assert asked == []
    assert sampler({}, hint(KeyboardInterrupt)) == 0.0
    assert len(asked) == 1
    assert of(otherwise=0.0)({}, hint(OSError)) == 0.0


def test_the_first_of_each_class_passes() -> None:
    """For each rule; a bounded number of classes is remembered."""
    sampler = of(ErrorRule(exception="Exception", rate=0.0))
    kinds = [type(f"Kind{n}", (Exception,), {}) for n in range(1100)]
    assert sum(sent(sampler, 2, kind) for kind in kinds) == 1000
    assert dropped() == {"rule 0": 1200}


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
    assert dropped() == {"ceiling": 100}
    half = of(otherwise=1.0, ceilings=(Ceiling(errors=0.5), Ceiling(traces=0.0)))
    assert sent(half, 1000) == pytest.approx(500, rel=0.1)
    low = of(otherwise=0.1, ceilings=(Ceiling(errors=0.5),))
    assert sent(low, 1000) == pytest.approx(100, rel=0.3)
    named = of(ceilings=(Ceiling(errors=0.0, match="POST *"),))
    assert sent(named, 10, transaction="POST /pay") == 0
    assert sent(named, 10, transaction="GET /") == 10


ODD = [
    Decimal(1), Decimal("0.5"), Fraction(1, 2), True, False, 0, 0.5, 2, -1, None, "0.5", math.nan, []
]  # fmt: skip


def own_of(value: Any) -> Any:
    """Return an `error_sampler` that returns this, or raises it."""

    def own(_event: Any, _hint: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    return own


@pytest.mark.parametrize("value", [*ODD, RuntimeError("own")], ids=repr)
def test_an_own_sampler_is_read_as_the_sdk_reads_it(
    value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it sends anyway is sent; what it draws by is drawn by."""
    sampler, alone = (
        of(otherwise=own_of(value)),
        Client(release="lms@1", error_sampler=own_of(value)),
    )
    for drawn in (0.0, 0.49, 0.5, 0.99):
        monkeypatch.setattr(error_sampling, "_draw", lambda now=drawn: now)
        monkeypatch.setattr(sentry_sdk.client.random, "random", lambda now=drawn: now)
        assert bool(sampler({}, {})) == alone._should_sample_error({}, {})


@pytest.mark.parametrize("value", [*ODD, RuntimeError("own")], ids=repr)
def test_nothing_that_an_own_sampler_does_passes_a_bound(value: Any) -> None:
    """It cannot raise what a ceiling or a budget lets pass. What is dropped is counted."""
    closed = of(otherwise=own_of(value), ceilings=(Ceiling(errors=0.0),))
    assert sent(closed, 100) == 0
    assert sum(dropped().values()) == 100
    assert sent(of(otherwise=own_of(value), budgets=(Budget(errors=6),)), 1000) <= 9


class _Hostile(type):
    @property
    def __mro__(cls) -> Any:
        raise RuntimeError


class _Odd:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({"exception": {"values": [None]}}, {}),
        ({"exception": 7}, {}),
        ({"logger": _Odd()}, {}),
        ({"transaction": _Odd()}, {}),
        ({}, {"exc_info": (_Hostile("E", (), {}), None, None)}),
    ],
    ids=["value", "exception", "logger", "transaction", "class"],
)
def test_no_odd_error_passes_a_bound(event: Any, found: Any) -> None:
    """What rules cannot be compared with is bounded nevertheless."""
    rule = ErrorRule(exception="*", rate=1.0)
    closed = of(rule, ceilings=(Ceiling(errors=0.0),))
    assert [closed(event, found) for _ in range(10)] == [0.0] * 10
    assert dropped() == {"ceiling": 10}
    few = of(rule, budgets=(Budget(errors=6),))
    assert sum(few(event, found) for _ in range(100)) <= 16
    assert of(rule)(event, found) == 1.0


def test_a_rule_with_a_limit_alone_leaves_the_rate() -> None:
    """`SENTRY_SAMPLE_RATE` or the application's own sampler decides, and then the limit."""
    rule = ErrorRule(exception="*", per_minute=50)
    for otherwise in (0.1, own_of(0.1)):
        sampler = of(rule, otherwise=otherwise)
        assert sent(sampler, 300) == pytest.approx(30, abs=15)
        assert set(dropped()) == {"rate"}
        assert sent(sampler, 3000) < 50
        assert dropped()["rule 0"] > 100
    assert sent(of(rule, otherwise=0.0), 10) == 0
    low = of(rule._replace(rate=0.2), otherwise=0.0)
    assert sent(low, 100) == pytest.approx(21, abs=10)


def test_the_first_of_each_class_lends_a_minute_of_the_budget() -> None:
    """There may be many classes: an incident is no way around a budget."""
    rule = ErrorRule(exception="Exception", rate=0.0)
    sampler = of(rule, budgets=(Budget(errors=60),))
    kinds = [type(f"Kind{n}", (Exception,), {}) for n in range(1000)]
    passing = sum(sent(sampler, 1, kind) for kind in kinds)
    assert 60 <= passing <= 60 + 60
    assert dropped() == {"budget": 1000 - passing}
    tiny = of(rule, budgets=(Budget(errors=1),))
    assert sum(sent(tiny, 1, kind) for kind in kinds) <= 4


def test_no_edit_of_another_rule_makes_a_class_new() -> None:
    """Each rule remembers what it has let pass, and its limit, wherever it moves."""
    rule = ErrorRule(exception="Exception", rate=0.0)
    limited = ErrorRule(exception="BaseException", rate=1.0, per_minute=5)
    kinds = [type(f"Kind{n}", (Exception,), {}) for n in range(100)]
    first = of(rule, limited)
    assert sum(sent(first, 1, kind) for kind in kinds) == 100
    assert sent(first, 10, KeyboardInterrupt) == 5
    other = ErrorRule(exception="app.Other", rate=0.5)
    then = of(other, rule, limited, earlier=first)
    assert sum(sent(then, 1, kind) for kind in kinds) == 0
    assert sent(then, 10, KeyboardInterrupt) == 0
    without = of(other, limited, earlier=then)
    assert without.memory.firsts == {("builtins.KeyboardInterrupt", limited)}


def test_a_budget_bounds_errors_but_the_first_of_its_class() -> None:
    """What a rule names goes before the rest."""
    sampler = of(
        ErrorRule(exception="ValueError", rate=1.0), budgets=(Budget(errors=600),)
    )
    assert 50 <= sent(sampler, 1000, OSError) < 70
    assert sent(sampler, 5) == 5
    assert dropped()["budget"] > 900


def test_limits_and_counts_go_on_in_the_next_snapshot() -> None:
    """As long as the rules are the same."""
    rule = ErrorRule(exception="ValueError", per_minute=5)
    first = of(rule)
    assert sent(first, 10) == 5
    then = of(rule, earlier=first)
    assert sent(then, 10) == 0
    assert dropped() == {"rule 0": 15}
    assert sent(of(rule._replace(per_minute=6), earlier=first), 10) == 6


@pytest.mark.process
@pytest.mark.parametrize("match", ["GET /pay/1*", "GET /pay/{id}", "/pay/{id}"])
def test_a_ceiling_fits_a_web_error_as_its_trace(match: str) -> None:
    """By the path of the request, and by the name that the framework gave."""
    fastapi = pytest.importorskip("fastapi", reason="make test-versions has none")
    TestClient = pytest.importorskip("starlette.testclient").TestClient  # noqa: N806

    def sent_by(*bounds: str) -> int:
        _Kept.envelopes.clear()
        ceilings = tuple(Ceiling(errors=0.0, match=each) for each in bounds)
        with sentry_sdk.new_scope():
            sentry_sdk.get_global_scope().set_client(
                Client(
                    dsn="http://key@127.0.0.1:9/1",
                    error_sampler=of(ceilings=ceilings),
                    transport=_Kept,
                )
            )
            shop = fastapi.FastAPI()
            shop.get("/pay/{id}")(_fails)
            TestClient(shop, raise_server_exceptions=False).get("/pay/17?key=a")
        return len(_Kept.envelopes)

    assert sent_by("POST *", "GET /pay/2*") > 0
    assert sent_by("POST *", match) == 0


def test_counts_outlive_the_end_of_a_ceiling() -> None:
    """A process never forgets what a throttle dropped."""
    closed = of(ceilings=(Ceiling(errors=0.0),))
    assert sent(closed, 10) == 0
    assert sent(of(earlier=closed), 10) == 10
    assert here().sampled.dropped == {"ceiling": 10}


@pytest.mark.process
def test_a_child_begins_anew() -> None:
    """What its parent let pass and dropped says nothing of a forked process."""
    sampler = of(ErrorRule(exception="ValueError", rate=0.0, per_minute=5))
    assert sent(sampler, 10) == 1
    child = os.fork()
    if child == 0:
        is_new = sent(sampler, 10) == 1 and dropped() == {"rule 0": 9}
        os._exit(0 if is_new else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert dropped() == {"rule 0": 9}


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
