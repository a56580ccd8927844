"""What happened lately: each snapshot with how it converged, each refusal, each outage."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, structs

from agent.domain.last import last_accepted, last_processes
from agent.domain.passes import GOOD
from agent.domain.rollout import State
from agent.domain.tuned import cut_changes, cuts_of
from agent.domain.value import replace
from agent.domain.wishes import difference, is_held
from resentry.contract import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.domain.tuned import Cut
    from agent.domain.view import View
    from resentry.contract import Snapshot

SNAPSHOTS_LIMIT, OTHERS_LIMIT, BUDGETS_LIMIT = 20, 20, 10
"""So many of the newest events are kept."""
TEXT_LIMIT, NAMES_LIMIT = 300, 16
"""The characters of a sentence, and the number of names in an event."""
RATES = (
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE",
)


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened, at one time."""

    kind: Annotated[
        Literal["published", "refused", "failing", "recovered", "budget"],
        Meta(
            description="`published`: a new snapshot. `refused`: the guard rails or the "
            "DSN check refused a candidate. `failing`: the source could not be read, or "
            "the volume could not be written. `recovered`: the end of a refusal or a failure. "
            "`budget`: a budget is reached, or lets everything pass again."
        ),
    ]
    at: Annotated[str, Meta(description="When it happened, or began.")]
    sentence: Annotated[str, Meta(description="What happened, in words.")]
    revision: Annotated[
        str | None, Meta(description="The revision that is published since then.")
    ] = None
    sequence: Annotated[int, Meta(description="Its sequence number; 0 for none.")] = 0
    changed: Annotated[
        list[str], Meta(description="The settings that the snapshot changed.")
    ] = []
    rates: Annotated[
        dict[str, dict[str, float]],
        Meta(
            description="The rates in the snapshot, by role; an empty role stands for all."
        ),
    ] = {}
    boosts: Annotated[int, Meta(description="The number of boosts in it.")] = 0
    ceilings: Annotated[int, Meta(description="The number of ceilings in it.")] = 0
    rollback: Annotated[
        bool, Meta(description="True if an operator's rollback published it.")
    ] = False
    state: Annotated[
        State | None,
        Meta(description="How far its rollout got; null if it is no snapshot."),
    ] = None
    targets: Annotated[
        int, Meta(description="The number of live processes at that time.")
    ] = 0
    confirmed_seconds: Annotated[
        float | None,
        Meta(
            description="The seconds until every process had confirmed it; null if they "
            "did not, or the agent did not see it."
        ),
    ] = None


Timeline = tuple[Event, ...]
"""The newest event comes last."""


def begun(view: View, now: float) -> View:
    """Return the view to begin with, with what it shows."""
    return _with_rollout(view, view, now)


def followed(before: View, after: View, now: float) -> View:
    """Return the view `after` with what has happened since `before`."""
    is_same = (
        after.rollout is before.rollout
        and after.known.current is before.known.current
        and after.confirmed_at == before.confirmed_at
        and not before.cuts  # these end with time
    )
    if not is_same:
        after = _with_rollout(before, after, now)
    if after.passes is before.passes:
        return after
    timeline = _with_pass(after.timeline, after, now)
    return after if timeline is after.timeline else replace(after, timeline=timeline)


def _with_rollout(before: View, after: View, now: float) -> View:
    """Add what the published snapshot and the receipts tell."""
    current, rollout = after.known.current, after.rollout
    cuts = before.cuts
    if not rollout.unknown:  # else a process may be missing, and come back
        receipts = [t.receipt for t, _ in rollout.targets if t.readable]
        cuts = cuts_of(before.cuts, current, receipts, now)
    timeline = _with_snapshot(after.timeline, before, after)
    return replace(
        after,
        timeline=_with_budgets(timeline, before.cuts, cuts, now),
        cuts=cuts,
        last_processes=last_processes(before.last_processes, rollout, now),
        last_accepted=last_accepted(before.last_accepted, current, rollout, now),
    )


def _with_pass(timeline: Timeline, view: View, now: float) -> Timeline:
    """Add a refusal, a failure, or the end of either."""
    passes, outcome = view.passes, view.passes.outcome
    if outcome is None:
        return timeline
    last = _last(timeline, ("refused", "failing", "recovered"))
    is_bad = last is not None and last.kind != "recovered"
    if outcome.kind in GOOD and not is_bad:
        return timeline
    at = time_text(now)
    if outcome.kind in GOOD:
        sentence = (
            passes.outage or "the source is read again, and passes the guard rails"
        )
        event = Event(kind="recovered", at=at, sentence=sentence)
    else:
        kind: Literal["refused", "failing"] = (
            "refused" if outcome.kind == "refused" else "failing"
        )
        sentence = outcome.sentence[:TEXT_LIMIT]
        # Boosts and rollbacks change what stays published, and not the failure.
        reason = f"{outcome.reason};"[:TEXT_LIMIT]
        is_repeated = any(
            event.kind == kind and event.sentence.startswith(reason)
            for event in _since_recovery(timeline)
        )
        if is_repeated or (is_bad and not passes.is_news):
            return timeline
        event = Event(kind=kind, at=at, sentence=sentence)
    revision, sequence = outcome.revision, outcome.sequence
    event = structs.replace(event, revision=revision, sequence=sequence)
    return _bounded((*timeline, event))


def _with_budgets(
    timeline: Timeline, before: Iterable[Cut], after: Iterable[Cut], now: float
) -> Timeline:
    """Add each budget that begins to cut, or has ended to do so."""
    begun, ended = cut_changes(before, after)
    told = [each.sentence for each in begun] + [each.end for each in ended]
    news = [Event(kind="budget", at=time_text(now), sentence=text) for text in told]
    return _bounded((*timeline, *news)) if news else timeline


def _with_snapshot(timeline: Timeline, before: View, after: View) -> Timeline:
    """Add the published snapshot if it is new, and note how far its rollout got."""
    current = after.known.current
    if current is None:
        return timeline
    last = _last(timeline, ("published",))
    name = current.revision, current.sequence
    if last is None or (last.revision, last.sequence) != name:
        last = _event(current, before.known.current)
        timeline = _bounded((*timeline, last))
    seconds = last.confirmed_seconds
    if seconds is None and after.known.is_own and after.confirmed_at is not None:
        seconds = round(after.confirmed_at - after.known.published_at, 3)
    rollout = after.rollout
    event = structs.replace(
        last,
        state=rollout.state,
        targets=len(rollout.targets),
        confirmed_seconds=seconds,
    )
    if event == last:
        return timeline
    return tuple(event if each is last else each for each in timeline)


def _event(snapshot: Snapshot, earlier: Snapshot | None) -> Event:
    # At the start of the agent, nobody knows what the snapshot of the volume changed.
    names = [] if earlier is snapshot else difference(snapshot, earlier)
    values = {"": snapshot.settings, **snapshot.roles}
    rates = {
        role: {key: float(own[key]) for key in RATES if own.get(key) is not None}
        for role, own in values.items()
    }
    return Event(
        kind="published",
        at=snapshot.published_at,
        sentence=f"published revision {snapshot.revision}, sequence {snapshot.sequence}",
        revision=snapshot.revision,
        sequence=snapshot.sequence,
        changed=names[:NAMES_LIMIT],
        rates={role: own for role, own in rates.items() if own or not role},
        boosts=len(snapshot.boosts),
        ceilings=len(snapshot.ceilings),
        rollback=is_held(snapshot),
    )


def _since_recovery(timeline: Timeline) -> Iterator[Event]:
    return takewhile(lambda event: event.kind != "recovered", reversed(timeline))


def _last(timeline: Timeline, kinds: Iterable[str]) -> Event | None:
    return next((event for event in reversed(timeline) if event.kind in kinds), None)


def _bounded(timeline: Timeline) -> Timeline:
    limits = {"published": SNAPSHOTS_LIMIT, "budget": BUDGETS_LIMIT}
    counts: Counter[str] = Counter()
    kept = []
    for event in reversed(timeline):
        group = event.kind if event.kind in limits else "others"
        counts[group] += 1
        if counts[group] <= limits.get(group, OTHERS_LIMIT):
            kept.append(event)
    return tuple(reversed(kept))
