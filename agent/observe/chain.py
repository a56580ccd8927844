"""The chain from the source to the processes: the state of each stage, and what broke first.

It is a pure function of a status: `status`, `/status` and the page tell the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, structs

from agent.domain.dsn_check import FAILING, PASSING
from agent.domain.passes import GOOD
from agent.domain.provenance import origin_of
from agent.domain.rollout import DONE
from agent.domain.view import VOLUME
from agent.errors import CandidateRefused, PublishError, VolumeBusy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.observe.results import SourceReport, StatusResult
    from agent.observe.target_results import RolloutReport

Name = Literal[
    "source", "values", "checks", "publish", "notify", "confirm", "drain", "arrive"
]
StageState = Literal["ok", "waiting", "held", "broken", "unknown", "off"]
TO_PUBLISH = frozenset({PublishError.__name__, VolumeBusy.__name__})
"""The errors that say that the volume is at fault, not the source."""


class Stage(Struct, frozen=True, kw_only=True):
    """One stage of the chain."""

    stage: Annotated[Name, Meta(description="The stage.")]
    state: Annotated[
        StageState,
        Meta(
            description="`held`: an operator's rollback is in force. `unknown`: nobody "
            "knows, as when an earlier stage is broken. `off`: the stage is not used."
        ),
    ]
    sentence: Annotated[str, Meta(description="The state in words.")]
    since: Annotated[
        str | None, Meta(description="Since when; null if that is not known.")
    ] = None
    hint: Annotated[str, Meta(description="What to do; may be empty.")] = ""
    first_broken: Annotated[
        bool, Meta(description="True for the first stage that is broken.")
    ] = False


def chain(status: StatusResult) -> list[Stage]:
    """Return the stages in their order. The first one that is broken is marked."""
    stages = list(_stages(status))
    for number, stage in enumerate(stages):
        if stage.state == "broken":
            stages[number] = structs.replace(stage, first_broken=True)
            break
    return stages


def _stages(status: StatusResult) -> Iterator[Stage]:
    yield _source(status)
    yield _values(status)
    yield _checks(status)
    yield _publish(status)
    yield _notify(status)
    yield _confirm(status)
    yield _drain(status)
    yield _arrive(status)


def _of_pass(stage: Name, state: StageState, source: SourceReport) -> Stage:
    """Return a stage whose state is what the newest pass came to."""
    return Stage(
        stage=stage,
        state=state,
        sentence=source.sentence,
        since=source.since,
        hint=source.hint,
    )


def _source(status: StatusResult) -> Stage:
    source = status.source
    if status.agent == "not running":
        return Stage(
            stage="source",
            state="broken",
            sentence="no agent is running: nobody reads the source",
            hint="start resentry-agent run; the log of the last agent says why it ended",
        )
    if status.agent == "not responding":
        return Stage(
            stage="source",
            state="broken",
            sentence=f"the agent does not respond: {status.origin.why}",
            hint="read the agent's log, then restart it: the snapshot stays published",
        )
    if source.outcome is None:
        return Stage(stage="source", state="unknown", sentence=source.sentence)
    if source.outcome == "failed" and source.error not in TO_PUBLISH:
        return _of_pass("source", "broken", source)
    where = source.where
    named = [str(where[key]) for key in ("address", "path") if where.get(key)]
    sentence = f"read from {' '.join(named) or 'the source'}"
    for words, moment in (
        ("last at", source.last_success_at),
        ("next at", source.next_at),
        ("token until", where.get("token_ends_at")),
    ):
        sentence += f", {words} {moment}" if moment else ""
    return Stage(
        stage="source",
        state="ok" if status.agent == "running" else "unknown",
        sentence=sentence,
        since=source.since if source.outcome in GOOD else None,
    )


def _values(status: StatusResult) -> Stage:
    current, source = status.current, status.source
    if source.error == CandidateRefused.__name__:
        return _of_pass("values", "broken", source)
    if current is None:
        return Stage(stage="values", state="unknown", sentence="nothing is published")
    origins = ", ".join(
        sorted(filter(None, {*map(origin_of, current.provenance.values())}))
    )
    number = len(current.settings)
    sentence = f"{number} setting{'s' * (number != 1)}"
    if current.roles:
        sentence += f", own ones for {', '.join(sorted(current.roles))}"
    return Stage(
        stage="values",
        state="ok",
        sentence=f"{sentence}{f' from {origins}' if origins else ''}",
    )


def _checks(status: StatusResult) -> Stage:
    source = status.source
    if source.outcome == "checking":
        return _of_pass("checks", "waiting", source)
    bad = [check for check in status.dsn_checks if check.verdict in FAILING]
    if bad:
        return Stage(
            stage="checks",
            state="broken",
            sentence=bad[0].sentence,
            since=bad[0].since,
            hint="enable the key at the Sentry server, or correct SENTRY_DSN at the source",
        )
    if not status.dsn_checks:
        sentence = "no DSN is being checked"
        return Stage(stage="checks", state="off", sentence=sentence)
    verdicts = {check.verdict for check in status.dsn_checks}
    state: StageState = "unknown"
    if verdicts <= {*PASSING}:
        state = "ok"
    elif not all(check.settled for check in status.dsn_checks):
        state = "waiting"
    return Stage(
        stage="checks",
        state=state,
        sentence="; ".join(check.sentence for check in status.dsn_checks),
        since=status.dsn_checks[0].since,
    )


def _publish(status: StatusResult) -> Stage:
    current, source = status.current, status.source
    if source.error in TO_PUBLISH:
        return _of_pass("publish", "broken", source)
    for problem in status.problems:
        if problem.setting == VOLUME:
            return Stage(
                stage="publish",
                state="broken",
                sentence=problem.what,
                hint=problem.hint or "make room on the volume, and check its rights",
            )
    if current is None:
        return Stage(
            stage="publish", state="waiting", sentence="nothing is published yet"
        )
    number = f"revision {current.revision}, sequence {current.sequence}"
    boosts = len(current.boosts)
    if boosts:
        number += f", {boosts} boost{'s' * (boosts != 1)} in force"
    if status.held is not None:
        return Stage(
            stage="publish",
            state="held",
            sentence=f"a rollback holds revision {status.held}: what the source holds is "
            "not published",
            since=current.published_at,
            hint="resentry-agent rollback --resume ends the rollback",
        )
    return Stage(
        stage="publish", state="ok", sentence=number, since=current.published_at
    )


def _notify(status: StatusResult) -> Stage:
    if not status.notify:
        return Stage(
            stage="notify",
            state="off",
            sentence="no receiver is set; processes look at the volume by themselves",
        )
    failing = [receiver for receiver in status.notify if receiver.error]
    if failing:
        first, number = failing[0], len(status.notify)
        return Stage(
            stage="notify",
            state="broken",
            sentence=f"{len(failing)} of {number} receivers cannot be notified; "
            f"{first.receiver}: {first.error}",
            since=first.since,
            hint="check that the receiver runs, and RESENTRY_NOTIFY_URLS",
        )
    waits = any(receiver.revision is None for receiver in status.notify)
    return Stage(
        stage="notify",
        state="waiting" if waits else "ok",
        sentence=", ".join(receiver.receiver for receiver in status.notify),
    )


def _confirm(status: StatusResult) -> Stage:
    rollout = status.rollout
    is_bad = rollout.state in ("refused", "overdue") or rollout.obstacle
    state: StageState = "waiting"
    if is_bad:
        state = "broken"
    elif rollout.unknown:
        state = "unknown"
    elif rollout.state in DONE:
        state = "ok"
    published = status.current.published_at if status.current else None
    slowest = max((target.swap_ms for target in rollout.targets), default=0.0)
    more = f"; the slowest swap took {slowest:.0f} ms" if slowest >= 1 else ""
    return Stage(
        stage="confirm",
        state=state,
        sentence=f"{rollout.sentence}{more if state == 'ok' else ''}",
        since=published,
        hint=rollout.hint,
    )


def _drain(status: StatusResult) -> Stage:
    rollout = status.rollout
    if rollout.state == "drained":
        sentence = "no process sends by an older DSN"
        return Stage(stage="drain", state="ok", sentence=sentence)
    if rollout.state not in DONE:
        sentence = "not every process has confirmed yet"
        return Stage(stage="drain", state="unknown", sentence=sentence)
    return _undrained(rollout)


def _undrained(rollout: RolloutReport) -> Stage:
    left = [target for target in rollout.targets if target.state != "drained"]
    holders = [target.name for target in left if target.holders]
    sentence = f"{len(left)} of {len(rollout.targets)} still send what they held before"
    if holders:
        sentence += f"; an older DSN is held by {', '.join(holders[:5])}"
    hint = "restart the process to end what holds the older DSN" if holders else ""
    return Stage(stage="drain", state="waiting", sentence=sentence, hint=hint)


def _arrive(status: StatusResult) -> Stage:
    """Whether Sentry accepts what the processes send."""
    uses = status.dsns
    if not uses:
        sentence = "no DSN is published"
        return Stage(stage="arrive", state="off", sentence=sentence)
    for use in uses:
        if any(kind != "accepted" for kind in use.processes):
            return Stage(
                stage="arrive",
                state="broken",
                sentence=use.sentence,
                since=use.since,
                hint=use.hint or "resentry-agent doctor --area sentry says more",
            )
    is_seen = all(use.processes for use in uses)
    return Stage(
        stage="arrive",
        state="ok" if is_seen else "unknown",
        sentence="; ".join(use.sentence for use in uses),
        hint="" if is_seen else "resentry-agent verify sends test events",
    )
