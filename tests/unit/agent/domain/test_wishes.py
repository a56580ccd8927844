"""What an operator asked for, laid over what the source holds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.domain.value import replace
from agent.domain.wishes import (
    Held,
    Wishes,
    decode_wishes,
    difference,
    encode_wishes,
    lasting_revision,
    overlay,
    resume_hint,
    running,
    undone_values,
    with_seconds_left,
)
from resentry.contract import Boost, Ceiling, Rule, Snapshot, revision_of
from resentry.formats import moment

NOW = moment("2026-11-24T06:00:00Z")
LATER, PAST = "2026-11-24T06:15:00Z", "2026-11-24T05:59:59Z"
LONG_PAST = "2026-11-23T05:59:59Z"


def of(
    roles: dict[str, Any] | None = None,
    rules: tuple[Rule, ...] = (),
    boosts: tuple[Boost, ...] = (),
    **settings: object,
) -> Snapshot:
    where = {name: {"source": "vault"} for name in settings}
    made = Snapshot(settings, roles or {}, rules, boosts, where)
    return replace(made, revision=revision_of(made))


GOOD = of(SENTRY_DSN="good", SENTRY_RELEASE="1")
BAD = of(SENTRY_DSN="bad", SENTRY_RELEASE="1")
B1 = Boost("b1", 1.0, LATER, "POST /checkout", "api")
B2 = Boost("b2", 0.5, PAST)


def test_without_a_wish_the_base_is_published() -> None:
    """It keeps its revision and where it came from."""
    assert overlay(GOOD, Wishes(), NOW) == GOOD


def test_a_boost_makes_a_revision_and_is_marked() -> None:
    """Whoever reads the snapshot sees that an operator asked for it."""
    laid = overlay(GOOD, Wishes(boosts=(B1,)), NOW)
    assert laid.boosts == (B1,)
    assert laid.revision == revision_of(laid) != GOOD.revision
    assert laid.provenance["RESENTRY_BOOSTS"] == {"source": "operator"}
    assert laid.provenance["SENTRY_DSN"] == {"source": "vault"}


def test_a_boost_that_is_past_is_left_out() -> None:
    """Of the source and of an operator alike: that is no error."""
    base = of(boosts=(B2,), SENTRY_DSN="good")
    assert overlay(base, Wishes(boosts=(B2,)), NOW).boosts == ()
    assert running((B1, B2), NOW) == (B1,)


def test_a_boost_ends_at_its_second() -> None:
    """It runs until then, and not a moment longer."""
    assert running((B1,), moment(LATER) - 0.01) == (B1,)
    assert running((B1,), moment(LATER)) == ()


def test_what_is_left_of_a_boost_is_told_in_seconds() -> None:
    """With all that it boosts; one that is past is not there."""
    assert with_seconds_left((B1, B2), NOW) == [
        {
            "id": "b1",
            "traces": 1.0,
            "until": LATER,
            "match": "POST /checkout",
            "role": "api",
            "parent": None,
            "left_seconds": 900,
        }
    ]


def test_a_held_snapshot_is_published_instead_of_the_base() -> None:
    """It has its own revision again, and is marked as an operator's."""
    laid = overlay(BAD, Wishes(held=Held(GOOD, undone_values(GOOD, BAD))), NOW)
    assert (laid.settings, laid.revision) == (GOOD.settings, GOOD.revision)
    assert laid.provenance["SENTRY_DSN"] == {
        "source": "operator",
        "held": GOOD.revision,
    }


def test_a_held_snapshot_says_by_which_environment_it_is_judged_now() -> None:
    """That of the agent of now, not of the one that published it first."""
    held = Held(replace(GOOD, judged_by="staging"), {})
    base = replace(BAD, judged_by="production")
    assert overlay(base, Wishes(held=held), NOW).judged_by == "production"


def test_a_rollback_leaves_boosts_as_they_are() -> None:
    """They are the source's and the operator's of now, not those of the old snapshot."""
    then = replace(GOOD, boosts=(B1, Boost("old", 1.0, LATER)))
    source = Boost("source", 0.2, LATER)
    base = replace(BAD, boosts=(source,))
    laid = overlay(base, Wishes(boosts=(B1,), held=Held(then, {})), NOW)
    assert laid.boosts == (source, B1)


RULES = (Rule("GET /health", 0.0),)


@pytest.mark.parametrize(
    ("then", "before", "base", "holds"),
    [
        (GOOD, BAD, BAD, True),
        (GOOD, BAD, of(SENTRY_DSN="other", SENTRY_RELEASE="1"), False),
        (GOOD, BAD, GOOD, False),
        (GOOD, of(SENTRY_DSN="bad", SENTRY_RELEASE="2"), BAD, True),
        (GOOD, of(SENTRY_DSN="bad", SENTRY_RELEASE="2"), of(SENTRY_RELEASE="2"), True),
        (GOOD, of(SENTRY_DSN="bad"), of(SENTRY_DSN="other"), False),
        (GOOD, of(SENTRY_DSN="good"), of(SENTRY_DSN="good"), True),
        (GOOD, of(SENTRY_DSN="good"), GOOD, False),
        (of(), of({"api": {"K": 1}}), of({"api": {"K": 1}}), True),
        (of(), of({"api": {"K": 1}}), of({"celery": {"K": 1}}), False),
        (of(), of(rules=RULES), of(rules=RULES, K=1), True),
        (of(), of(rules=RULES), of(), False),
    ],
)
def test_a_rollback_is_over_when_the_source_holds_no_value_of_it(
    then: Snapshot, before: Snapshot, base: Snapshot, *, holds: bool
) -> None:
    """One such value is enough to hold on; a key that lacks counts if nothing else does."""
    wishes = Wishes(held=Held(then, undone_values(then, before)))
    assert holds == (wishes.pruned(base, NOW, 1.0).held is not None)


def test_a_rollback_is_from_what_is_published_and_from_what_the_source_holds() -> None:
    """A second rollback still knows the value that the source holds."""
    older = of(SENTRY_DSN="older", SENTRY_RELEASE="1")
    assert undone_values(older, GOOD, BAD) == {"SENTRY_DSN": ['"good"', '"bad"']}
    assert Held(older, undone_values(older, GOOD, BAD)).still_concerns(BAD)


def test_pruning_drops_boosts_that_have_ended() -> None:
    """So they do not pile up; without a base a rollback is not judged."""
    held = Held(GOOD, {})
    wishes = Wishes(boosts=(B1, B2._replace(until=LONG_PAST)), held=held)
    assert wishes.pruned(None, NOW, 1.0) == Wishes((B1,), held)
    assert wishes.pruned(GOOD, NOW, 1.0) == Wishes((B1,), None)


def test_the_end_of_a_rollback_names_where_its_values_may_stand() -> None:
    """A tuning file can hold rates and rules, and never a DSN."""
    for name in ("SENTRY_TRACES_SAMPLE_RATE of role api", "RESENTRY_RULES"):
        assert "or in the tuning file" in resume_hint([name])
    assert "tuning" not in resume_hint(["SENTRY_DSN"])


def test_no_clock_that_was_wrong_for_a_while_ends_a_wish() -> None:
    """What has ended counts for nothing. A day later it is forgotten, 50 are before."""
    ceiling = Ceiling(traces=0.0, until=LATER, id="c1")
    wishes = Wishes((B1,), ceilings=(ceiling,))
    jumped = wishes.pruned(GOOD, NOW + 7200, 1.0)
    assert overlay(GOOD, jumped, NOW + 7200) == GOOD
    assert overlay(GOOD, jumped, NOW).ceilings == (ceiling,)
    assert overlay(GOOD, jumped, NOW).boosts == (B1,)
    assert wishes.pruned(GOOD, NOW + 2 * 86400, 1.0) == Wishes()
    many = Wishes(tuple(B2._replace(id=f"b{n}") for n in range(200)))
    assert many.pruned(GOOD, NOW, 1.0).boosts == many.boosts[-50:]


def test_pruning_drops_boosts_above_a_cap_that_was_lowered() -> None:
    """The settings of now count, not those of the agent that took the wish."""
    high, low = B1._replace(traces=0.9), B1._replace(traces=0.5)
    assert Wishes((high, low)).pruned(GOOD, NOW, 0.5).boosts == (low,)


KEPT = of(SENTRY_DSN="https://key@sentry.example.org/1")


def test_wishes_survive_their_file() -> None:
    """What was written is read."""
    wishes = Wishes((B1, B2), Held(KEPT, {"SENTRY_DSN": ["x"], "K": [None]}))
    assert decode_wishes(encode_wishes(wishes)) == wishes
    assert decode_wishes(encode_wishes(Wishes())) == Wishes()


def test_wishes_of_a_later_agent_are_read() -> None:
    """What it added to a boost is skipped; the boost and the rollback stay."""
    wishes = Wishes((B1,), Held(KEPT, {"SENTRY_DSN": ["x"]}))
    document = json.loads(encode_wishes(wishes))
    document["boosts"][0]["by"] = "somebody"
    assert decode_wishes(json.dumps(document).encode()) == wishes


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"7",
        b'{"boosts": [{}]}',
        b'{"boosts": 1}',
        b'{"held": {"snapshot": "{}", "undone_values": {}}}',
        b'{"held": {"snapshot": 1}}',
        b'{"held": "x"}',
        b'{"rejected": 1}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_no_wish(body: bytes | None) -> None:
    """A damaged file does not keep the agent from starting."""
    assert decode_wishes(body) == Wishes()


def test_one_damaged_wish_does_not_end_the_other() -> None:
    """Boosts stay without the rollback, and the rollback stays without the boosts."""
    wishes = Wishes((B1,), Held(KEPT, {"SENTRY_DSN": ["x"]}))
    document = json.loads(encode_wishes(wishes))
    for name, kept in (
        ("boosts", replace(wishes, boosts=())),
        ("held", replace(wishes, held=None)),
    ):
        body = json.dumps(document | {name: [{"id": 7}]}).encode()
        assert decode_wishes(body) == kept


def test_the_difference_names_what_changed_wherever_it_stands() -> None:
    """A setting, a role's, rules, boosts; everything where there is nothing before."""
    old = of({"celery": {"K": 1}}, SENTRY_DSN="a", SENTRY_RELEASE="1")
    new = of({"celery": {"K": 2}}, RULES, (B1,), SENTRY_DSN="b", SENTRY_RELEASE="1")
    changed = ["K of role celery", "RESENTRY_BOOSTS", "RESENTRY_RULES", "SENTRY_DSN"]
    assert difference(new, old) == changed
    assert difference(new, None) == sorted([*changed, "SENTRY_RELEASE"])
    assert difference(new, new) == []


def test_boosts_are_not_in_the_name_of_a_content() -> None:
    """A snapshot that a process could not apply is known with any boosts."""
    assert lasting_revision(overlay(GOOD, Wishes(boosts=(B1,)), NOW)) == GOOD.revision
