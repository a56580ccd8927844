"""Which trace rate a transaction gets."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from resentry import fallback
from resentry.contract import Boost, Rule, Snapshot
from resentry.sampling import Sampler


def _in(minutes: float) -> str:
    at = time.gmtime(time.time() + minutes * 60)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", at)  # as the agent writes it


LATER, BEFORE = _in(600), _in(-15)
NAMED = {"transaction_context": {"name": "checkout"}, "parent_sampled": None}
REQUEST = {
    "transaction_context": {"name": "generic ASGI request"},
    "asgi_scope": {"type": "http", "method": "GET", "path": "/users/7"},
    "parent_sampled": None,
}
TASK = {
    "transaction_context": {"name": "celery"},
    "celery_job": {"task": "app.tasks.grade_exam"},
    "parent_sampled": True,
}


Asked = Callable[[dict[str, Any]], float | bool]


def sampler(
    *items: Rule | Boost,
    role: str = "api",
    rate: float | None = 0.2,
    otherwise: Asked | None = None,
) -> Asked:
    """Return the sampler of a snapshot with these rules and boosts."""
    snapshot = Snapshot(
        {},
        rules=tuple(item for item in items if isinstance(item, Rule)),
        boosts=tuple(item for item in items if isinstance(item, Boost)),
    )
    after = otherwise or fallback.traces_sampler(rate)
    return Sampler(snapshot, role).before(after)


@pytest.mark.parametrize(
    ("items", "parent", "expected"),
    [
        ([Boost("b", 1.0, LATER), Rule("checkout", 0.5)], False, 1.0),
        ([Boost("b", 0.0, LATER), Rule("checkout", 0.5)], True, 0.0),
        ([Rule("checkout", 0.5)], False, 0.5),
        ([Rule("*", 0.0)], True, 0.0),
        ([Rule("other", 0.5)], True, True),
        ([Rule("other", 0.5)], False, False),
        ([Rule("other", 0.5)], None, 0.2),
    ],
)
def test_boost_stands_above_rule_above_parent_above_rate(
    items: list[Rule | Boost], *, parent: bool | None, expected: float
) -> None:
    """The first of the four that has something to say decides."""
    assert expected == sampler(*items)(NAMED | {"parent_sampled": parent})


def test_the_first_rule_that_matches_decides() -> None:
    """Rules are tried in their order, not by how exact they are."""
    assert sampler(Rule("check*", 0.1), Rule("checkout", 0.9))(NAMED) == 0.1


def test_of_several_boosts_the_highest_rate_wins() -> None:
    """Two operators who boost at once do not undo each other."""
    boosts = [Boost("a", 0.3, LATER), Boost("b", 0.9, LATER), Boost("c", 0.5, LATER)]
    assert sampler(*boosts)(NAMED) == 0.9


def test_a_boost_that_has_ended_is_ignored() -> None:
    """A boost ends by itself, and with it its precedence."""
    boosts = [Boost("a", 1.0, BEFORE), Boost("b", 0.4, LATER)]
    assert sampler(*boosts)(NAMED) == 0.4
    assert sampler(Boost("a", 1.0, BEFORE))(NAMED) == 0.2


def test_a_boost_ends_while_the_process_runs() -> None:
    """The same sampler stops boosting when the time has come, without a new snapshot."""
    until = datetime.now().astimezone() + timedelta(milliseconds=30)
    boosted = sampler(Boost("a", 1.0, until.isoformat()))
    seen = [boosted(NAMED)]
    while datetime.now().astimezone() < until:
        pass
    seen.append(boosted(NAMED))
    assert seen == [1.0, 0.2]


@pytest.mark.parametrize(
    ("match", "context"),
    [
        ("checkout", NAMED),
        ("check*", NAMED),
        ("GET /users/*", REQUEST),
        ("* /users/7", REQUEST),
        ("app.tasks.grade_*", TASK),
        ("app.tasks.grade_exam", TASK),
    ],
)
def test_a_rule_matches_name_or_request_or_task(
    match: str, context: dict[str, Any]
) -> None:
    """All three names of a transaction are compared, with wildcards."""
    assert sampler(Rule(match, 0.7))(context) == 0.7


@pytest.mark.parametrize(
    ("match", "context"),
    [
        ("POST /users/*", REQUEST),
        ("/users/7", REQUEST),
        ("get /users/7", REQUEST),
        ("check", NAMED),
        ("app.tasks.*", NAMED),
    ],
)
def test_a_rule_matches_nothing_else(match: str, context: dict[str, Any]) -> None:
    """A part of a name, another method or another case is no match."""
    assert sampler(Rule(match, 0.7))(context) == 0.2


@pytest.mark.parametrize(
    ("role", "expected"), [("api", 0.2), ("celery", 0.7), ("other", 0.2)]
)
@pytest.mark.parametrize("kind", [Rule, Boost])
def test_a_role_s_rule_or_boost_counts_in_that_role_alone(
    kind: type, role: str, expected: float
) -> None:
    """A rule or boost for Celery leaves the API's rate alone."""
    if kind is Rule:
        item: Rule | Boost = Rule("checkout", 0.7, "celery")
    else:
        item = Boost("b", 0.7, LATER, role="celery")
    assert expected == sampler(item, role=role)(NAMED)


def test_a_boost_can_name_what_it_boosts() -> None:
    """A boost with a match leaves every other transaction alone."""
    boosted = sampler(Boost("b", 1.0, LATER, match="GET /users/*"))
    assert [boosted(REQUEST), boosted(NAMED)] == [1.0, 0.2]


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], "own"),
        ([Rule("other", 0.5)], "own"),
        ([Rule("checkout", 0.5)], 0.5),
        ([Boost("b", 1.0, LATER)], 1.0),
    ],
)
def test_the_application_s_own_sampler_decides_where_nothing_matches(
    items: list[Rule | Boost], expected: object
) -> None:
    """Rules and boosts stand above it; parent and plain rate are its own affair."""
    own = sampler(*items, otherwise=lambda _context: "own")
    assert expected == own(NAMED | {"parent_sampled": True})


@pytest.mark.parametrize("context", [{}, {"transaction_context": None}])
def test_an_odd_context_gets_the_plain_rate(context: dict[str, Any]) -> None:
    """Whatever the SDK leaves out, the sampler answers."""
    assert sampler(Rule("checkout", 0.7))(context) == 0.2
