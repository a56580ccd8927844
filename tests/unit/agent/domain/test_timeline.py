"""The timeline: each snapshot with how it converged, each refusal, each outage."""

from collections.abc import Callable
from typing import Any

import msgspec
from structlog.testing import capture_logs

from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.domain.timeline import OTHERS_LIMIT, SNAPSHOTS_LIMIT, Event, begun, followed
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.errors import CandidateRefused, SourceDenied, SourceDown
from agent.observe.document import decode_state, encode_state, timeline_of
from agent.observe.tuning_changes import log_bounds
from resentry.contract import Boost, Budget, Ceiling, Receipt, Snapshot, revision_of

NOBODY = assess([], None, late=False)


def snapshot(sequence: int, **settings: Any) -> Snapshot:
    made = Snapshot(settings, {"celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01}})
    return replace(
        made,
        revision=revision_of(made),
        sequence=sequence,
        published_at=f"2026-11-24T06:00:{sequence:02}.000Z",
    )


class Story:
    """A view that goes on from moment to moment."""

    def __init__(self) -> None:
        self.view = View(Known(), Passes(0.0), 0.0, NOBODY)
        self.now = 0.0

    def go(self, **news: Any) -> tuple[Event, ...]:
        self.now += 1
        self.view = followed(self.view, replace(self.view, **news), self.now)
        return self.view.timeline

    def publish(self, current: Snapshot, rollout: Rollout = NOBODY) -> None:
        known = Known(current=current, published_at=self.now + 1, is_own=True)
        self.go(known=known, confirmed_at=None, rollout=rollout)

    def end_pass(self, outcome: Outcome) -> tuple[Event, ...]:
        moment = Moment(self.now + 1, self.now + 1)
        return self.go(passes=self.view.passes.after(outcome, moment, 0.1))


FIRST = snapshot(1, SENTRY_TRACES_SAMPLE_RATE=0.1)
SECOND = snapshot(2, SENTRY_TRACES_SAMPLE_RATE=0.5)


def test_a_snapshot_is_followed_until_the_next_one(
    receipt: Callable[..., Receipt],
) -> None:
    """What it changed, its rates, how long it took; then it stays as it was last."""
    story = Story()
    story.publish(FIRST)
    story.publish(SECOND)
    runs = receipt(revision=SECOND.revision, sequence=2)
    rollout = assess([LiveTarget(runs, 0)], SECOND, late=False)
    story.go(rollout=rollout, confirmed_at=story.now + 0.5)
    third = replace(SECOND, sequence=3, boosts=(Boost("b1", 1.0, "2026"),))
    story.publish(third)
    first, second, last = story.view.timeline
    assert (first.state, first.confirmed_seconds, first.changed) == (
        "waiting",
        None,
        ["SENTRY_TRACES_SAMPLE_RATE", "SENTRY_TRACES_SAMPLE_RATE of role celery"],
    )
    assert second.changed == ["SENTRY_TRACES_SAMPLE_RATE"]
    assert (second.state, second.targets, second.confirmed_seconds) == (
        "drained",
        1,
        0.5,
    )
    assert second.rates == {
        "": {"SENTRY_TRACES_SAMPLE_RATE": 0.5},
        "celery": {"SENTRY_TRACES_SAMPLE_RATE": 0.01},
    }
    assert (last.changed, last.boosts) == (["RESENTRY_BOOSTS"], 1)
    bounded = replace(SECOND, sequence=4, ceilings=(Ceiling(traces=0.1, id="c1"),))
    story.publish(bounded)
    last = story.view.timeline[-1]
    assert (last.changed, last.ceilings) == (
        ["RESENTRY_BOOSTS", "RESENTRY_CEILINGS"],
        1,
    )


def test_a_budget_that_is_reached_is_told_until_it_is_calm(
    receipt: Callable[..., Receipt],
) -> None:
    """A load that comes and goes is told once, and an unread receipt ends nothing."""
    story = Story()
    current = replace(FIRST, budgets=(Budget(transactions=600, errors=60),))
    story.publish(current)

    def look(seconds: float, unknown: str = "", **budgets: float) -> None:
        story.now += seconds
        runs = receipt(dropped={}, budgets=budgets)
        targets = [] if unknown else [LiveTarget(runs, 0)]
        rollout = assess(targets, current, late=False, unknown=unknown)
        with capture_logs() as lines:
            before = story.view
            story.go(rollout=rollout)
            log_bounds(before, story.view)
        logged.extend(line["event"] for line in lines)

    logged: list[str] = []
    look(1, transactions=1, errors=1)
    look(1, transactions=0.031, errors=1)
    for _ in range(20):
        look(200, transactions=1, errors=1)
        look(1, transactions=0.5, errors=1)
    look(1, unknown="the receipts cannot be read")
    assert [cut.role for cut in story.view.cuts] == ["api"]
    look(290, transactions=1, errors=1)
    look(10, transactions=1, errors=1)
    budget = "the budget of 600 transactions a minute of role api"
    told = [
        f"{budget} is reached: 0.031 of what no rule and no boost names passes",
        f"{budget} has let everything pass for 5 minutes",
    ]
    assert logged == told
    events = [event for event in story.view.timeline if event.kind == "budget"]
    assert [event.sentence for event in events] == told
    for _ in range(20):
        look(400, errors=0.1)
        look(400, errors=1)
    kinds = [event.kind for event in story.view.timeline]
    assert (kinds.count("published"), kinds.count("budget")) == (1, 10)


def test_a_ceiling_is_logged_when_it_begins_and_when_it_ends() -> None:
    """An operator's has a name; one of the source may have no end."""
    story, last = Story(), "2026-11-24T08:00:00Z"
    ceilings = (
        Ceiling(traces=0.01, errors=0.2, until=last, match="GET /*", id="c1"),
        Ceiling(errors=0.5, role="celery"),
    )
    with capture_logs() as lines:
        for given in ((), ceilings, ceilings[1:], ceilings[1:]):
            before = story.view
            story.publish(replace(FIRST, ceilings=given))
            log_bounds(before, story.view)
    first = (
        "traces at most 0.01, errors at most 0.2 for GET /* in every role, until "
        f"{last}, operator's c1"
    )
    assert [line["event"] for line in lines] == [
        f"a ceiling is in force: {first}",
        "a ceiling is in force: errors at most 0.5 for everything in celery, without an end",
        f"a ceiling has ended: {first}",
    ]


def test_a_refusal_and_an_outage_are_told_once_and_have_an_end() -> None:
    """However many passes repeat them."""
    story = Story()
    story.publish(FIRST)
    refused = Outcome.kept(CandidateRefused(["rate 7"], fingerprint="f" * 12), FIRST)
    down = Outcome.kept(SourceDown("Vault is sealed"), FIRST)
    good = Outcome.unchanged(FIRST, ())
    for outcome in (good, refused, refused, good, good, down, refused, down, good):
        story.end_pass(outcome)
    kinds = [event.kind for event in story.view.timeline]
    assert kinds == [
        *("published", "refused", "recovered"),
        *("failing", "refused", "recovered"),
    ]
    assert "rate 7" in story.view.timeline[1].sentence
    assert "since" in story.view.timeline[-1].sentence
    assert story.view.timeline[-1].revision == FIRST.revision


def test_an_outage_goes_on_whatever_is_published_meanwhile() -> None:
    """A boost begins and ends, and its revision stands in the pass's sentence."""
    story = Story()
    story.publish(FIRST)
    down, denied = SourceDown("Vault is sealed"), SourceDenied("no right")
    story.end_pass(Outcome.kept(down, FIRST))
    story.publish(SECOND)
    story.end_pass(Outcome.kept(down, SECOND))
    story.end_pass(Outcome.kept(denied, SECOND))
    story.publish(replace(FIRST, sequence=3))
    story.end_pass(Outcome.kept(down, FIRST))
    story.end_pass(Outcome.unchanged(FIRST, ()))
    story.end_pass(Outcome.kept(down, FIRST))
    told = [event.sentence[:6] for event in story.view.timeline if event.kind[0] != "p"]
    assert told == ["Vault ", "no rig", "passes", "Vault "]


def test_nothing_new_is_the_same_view() -> None:
    """So nothing is saved, logged or drawn again."""
    story = Story()
    story.publish(FIRST)
    before = story.view.timeline
    assert story.go() is before
    assert story.end_pass(Outcome.unchanged(FIRST, ())) is before


def test_many_failures_push_no_snapshot_out() -> None:
    """Each kind has a limit of its own, and a text too."""
    story = Story()
    story.publish(FIRST)
    for number in range(100):
        down = Outcome.kept(SourceDown(f"{number} {'x' * 3000}"), FIRST)
        story.end_pass(down)
        story.end_pass(Outcome.unchanged(FIRST, ()))
    assert story.view.timeline[0].kind == "published"
    assert len(story.view.timeline) == 1 + OTHERS_LIMIT
    for number in range(2, 100):
        story.publish(snapshot(number, SENTRY_RELEASE=str(number)))
    assert len(story.view.timeline) == SNAPSHOTS_LIMIT + OTHERS_LIMIT
    assert len(msgspec.json.encode(story.view.timeline)) < 64 * 1024


def test_the_next_agent_goes_on_with_the_timeline() -> None:
    """It tells the published snapshot no second time, and asks nothing of old files."""
    story = Story()
    story.publish(FIRST)
    saved = decode_state(encode_state(story.view, None))
    known = Known(current=FIRST)
    view = View(known, Passes(0.0), 0.0, NOBODY, timeline=timeline_of(saved))
    assert begun(view, 9.0).timeline == story.view.timeline
    without = replace(view, timeline=())
    (event,) = begun(without, 9.0).timeline
    assert (event.revision, event.changed) == (FIRST.revision, [])
    assert timeline_of(decode_state(b'{"timeline": [{"kind": "x"}]}')) == ()
