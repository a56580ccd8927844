"""The chain from the source to the processes: the state of each stage, and what broke first.

It is a pure function of a status: `status`, `/status` and the page tell the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from agent.domain.dsn_check import FAILING, PASSING
from agent.domain.passes import GOOD
from agent.domain.provenance import TUNING_FILE, origin_of
from agent.domain.view import VOLUME
from agent.domain.wishes import BOOSTS, OPERATOR, resume_hint
from agent.errors import CandidateRefused, PublishError, VolumeBusy
from agent.observe.arrival import arrive, confirm, drain
from agent.observe.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.observe.results import SourceReport, StatusResult
    from agent.observe.stage import Name, StageState

TO_PUBLISH = frozenset({PublishError.__name__, VolumeBusy.__name__})
"""The errors that say that the volume is at fault, not the source."""


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
    yield confirm(status)
    yield drain(status)
    yield arrive(status)


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
    origins = ", ".join(sorted(set(_origins(status)) - {""}))
    boosts = len(current.boosts)
    boosted = f" and {'a boost' if boosts == 1 else f'{boosts} boosts'}"
    number = len(current.settings)
    sentence = f"{number} setting{'s' * (number != 1)}"
    if current.roles:
        sentence += f", own ones for {', '.join(sorted(current.roles))}"
    return Stage(
        stage="values",
        state="ok",
        sentence=f"{sentence}{f' from {origins}' if origins else ''}{boosted * bool(boosts)}",
    )


def _origins(status: StatusResult) -> Iterator[str]:
    """Yield where the values come from. A tuning file is one place, whatever its form."""
    provenance = status.current.provenance if status.current else {}
    path = status.tuning.path if status.tuning else None
    for name, origin in provenance.items():
        place = str(origin.get("path", ""))
        if path is not None and (place == path or place.startswith(f"{path}/")):
            yield f"the tuning file {path}"
            continue
        if name != BOOSTS and origin != OPERATOR:
            yield origin_of({k: v for k, v in origin.items() if k != TUNING_FILE})
        if TUNING_FILE in origin:
            yield f"the tuning file {path or origin[TUNING_FILE]}"


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
    if ceilings := len(current.ceilings):
        number += f", {ceilings} ceiling{'s' * (ceilings != 1)} in force"
    if status.held is not None:
        return Stage(
            stage="publish",
            state="held",
            sentence=f"a rollback holds revision {status.held}: what the source holds is "
            "not published",
            since=current.published_at,
            hint=resume_hint(status.undone),
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
