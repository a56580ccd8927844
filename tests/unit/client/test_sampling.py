"""Which trace rate a transaction gets."""

import itertools
import math
import time
import timeit
from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from resentry import fallback
from resentry.contract import TRANSACTION_LIMIT, Boost, Rule, Snapshot
from resentry.patterns import Patterns, names
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


def wsgi(path: str, prefix: str = "", method: str = "GET") -> dict[str, Any]:
    environ = {"REQUEST_METHOD": method, "SCRIPT_NAME": prefix, "PATH_INFO": path}
    return {"transaction_context": {"name": "generic WSGI"}, "wsgi_environ": environ}


def asgi(path: str, prefix: str = "") -> dict[str, Any]:
    scope = {"type": "http", "method": "GET", "path": path, "root_path": prefix}
    return {"transaction_context": {"name": f"http://host{path}"}, "asgi_scope": scope}


FRAMEWORKS = ("aiohttp_request", "tornado_request", "sanic_request")


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        (wsgi("/users/7"), {"GET /users/7"}),
        (wsgi("/users/7", "/shop"), {"GET /users/7", "GET /shop/users/7"}),
        (wsgi("", "/shop"), {"GET /", "GET /shop"}),
        (wsgi("", ""), {"GET ", "GET /"}),
        (wsgi("/caf\xc3\xa9", method="PUT"), {"PUT /café"}),
        (wsgi("/\xff"), {"GET /\ufffd"}),
        (wsgi("/\u4e00"), {"GET /?"}),
        (asgi("/users/7"), {"GET /users/7"}),
        (asgi("/users/7", "/shop"), {"GET /users/7", "GET /shop/users/7"}),
        (asgi("/shop/users/7", "/shop"), {"GET /users/7", "GET /shop/users/7"}),
        (asgi("/shop/users/7", "/shop/"), {"GET /users/7", "GET /shop/users/7"}),
        (asgi("/shopping", "/shop"), {"GET /shopping", "GET /shop/shopping"}),
        (asgi("/shop", "/shop"), {"GET /", "GET /shop"}),
        ({"asgi_scope": {"type": "websocket", "path": "/live"}}, set()),
        *(
            ({name: SimpleNamespace(method="GET", path="/users/7")}, {"GET /users/7"})
            for name in FRAMEWORKS
        ),
        ({"celery_job": {"task": "app.tasks.grade"}}, {"app.tasks.grade"}),
        ({"rq_job": object(), "transaction_context": {"name": "jobs.grade"}}, set()),
    ],
)
def test_a_request_is_named_by_method_and_path(
    context: dict[str, Any], expected: set[str]
) -> None:
    """With and without the prefix of its mount point, whatever the interface."""
    first, *others = names(context)
    assert first == (context.get("transaction_context") or {}).get("name", "")
    assert set(others) == expected


def test_a_long_name_is_compared_as_cut() -> None:
    """Its first 500 characters count, and the rest of it is as if it were not there."""
    assert TRANSACTION_LIMIT == 500
    path = "/" + "x" * 1000
    cut = f"GET {path}"[:500]
    for context in (wsgi(path), asgi(path), {"transaction_context": {"name": cut * 2}}):
        assert sampler(Rule(cut, 0.7))(context) == 0.7
        assert sampler(Rule("GET /x*", 0.7))(context) == 0.7
        assert sampler(Rule("GET /*/edit", 0.7))(context) == 0.2


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("", "", True),
        ("*", "", True),
        ("**", "ab", True),
        ("a*", "a", True),
        ("*a", "a", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("ab*bc", "abc", False),
        ("*b*", "abc", True),
        ("*b*b*", "abc", False),
        ("a*b*c", "abbc", True),
        ("a*b*b", "ab", False),
        ("*ab", "aab", True),
        ("*a*ab", "ab", False),
        ("a*b", "a\nb", True),
        ("a.b", "axb", False),
        ("a?", "ab", False),
        ("[a]", "a", False),
    ],
)
def test_a_star_is_any_text_and_nothing_else_is_special(
    pattern: str, name: str, *, expected: bool
) -> None:
    """Parts are found in their order, and none overlaps another."""
    assert (Patterns([pattern]).first([name]) == 0) is expected


def test_patterns_match_as_a_plain_definition_says() -> None:
    """Every pattern of up to five characters against every name of up to five."""

    def plain(pattern: str, name: str) -> bool:
        if not pattern:
            return not name
        if pattern[0] == "*":
            return any(plain(pattern[1:], name[at:]) for at in range(len(name) + 1))
        return name[:1] == pattern[0] and plain(pattern[1:], name[1:])

    lengths = range(6)
    for pattern in (
        "".join(p) for n in lengths for p in itertools.product("ab*", repeat=n)
    ):
        patterns = Patterns([pattern])
        for name in (
            "".join(p) for n in lengths for p in itertools.product("ab", repeat=n)
        ):
            assert (patterns.first([name]) == 0) == plain(pattern, name), (
                pattern,
                name,
            )


def _takes(pattern: str, name: str) -> float:
    """Return the least of the seconds that some comparisons take."""
    patterns = Patterns([pattern])
    return min(timeit.repeat(lambda: patterns.first([name]), number=50, repeat=5))


WORST: dict[str, Callable[[int], tuple[str, str]]] = {
    "slashes": lambda n: ("GET /*/*/*/*/edit", "GET " + "/" * n),
    "letters": lambda n: ("*a*a*a*a*a*b", "a" * n),
    "a part that nearly fits": lambda n: ("*aaaaaaaab*", "a" * n),
    "pairs": lambda n: ("*ab*ab*ab*ac*", "ab" * (n // 2)),
    "more stars": lambda n: ("*a" * (n // 20) + "*b*", "a" * 4000),
    "a longer part": lambda n: ("*" + "a" * (n // 20) + "b*", "a" * 4000),
}


@pytest.mark.parametrize("worst", WORST)
def test_twice_the_name_or_pattern_takes_at_most_twice_the_time(worst: str) -> None:
    """No pattern freezes a process. Sizes are far above the limits, to be measurable."""
    once = twice = math.inf
    for _ in range(50):  # on a busy machine the least comes late
        once = min(once, _takes(*WORST[worst](4000)))
        twice = min(twice, _takes(*WORST[worst](8000)))
        if twice < 2 * once * 1.25:  # a quarter is the clock's
            return
    pytest.fail(f"{twice / once:.1f} times as long")


@pytest.mark.parametrize("worst", ["slashes", "letters"])
def test_the_worst_patterns_cost_no_request_a_millisecond(worst: str) -> None:
    """The names that took seconds are decided between two looks at the clock."""
    pattern, name = WORST[worst](400)
    assert _takes(pattern, name) / 50 < 0.001


@pytest.mark.parametrize("parent", [True, False, None])
def test_without_a_known_sdk_an_unset_rate_is_off(parent: bool | None) -> None:  # noqa: FBT001
    """There a sampler is all there is: what no rule matches is not traced."""
    asked = sampler(Rule("other", 1.0), rate=None)
    assert asked(NAMED | {"parent_sampled": parent}) is False


@pytest.mark.parametrize("context", [{}, {"transaction_context": None}])
def test_an_odd_context_gets_the_plain_rate(context: dict[str, Any]) -> None:
    """Whatever the SDK leaves out, the sampler answers."""
    assert sampler(Rule("checkout", 0.7))(context) == 0.2


def test_what_the_rules_matched_is_counted() -> None:
    """By the rules' places in the snapshot, also of other roles; a boost is none."""
    rules = (Rule("x", 0.1, "celery"), Rule("checkout", 0.5), Rule("y", 0.1))
    sampler = Sampler(Snapshot({}, rules=rules), "api")
    assert sampler.counts == (0, "0")
    for _ in range(123):
        sampler.choose(NAMED)
    assert sampler.counts == (100, "2")
    boost = Boost("b", 1.0, LATER)
    boosted = Sampler(Snapshot({}, rules=rules, boosts=(boost,)), "api")
    boosted.choose(NAMED)
    assert boosted.counts == (0, "0")
