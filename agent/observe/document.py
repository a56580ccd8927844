"""A view as JSON: what `status`, `/status` and the state file show."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from msgspec import structs

from agent._version import __version__
from agent.domain.answers import uses
from agent.domain.last import LastProcess, ended
from agent.domain.rollout import DONE
from agent.domain.timeline import Event
from agent.domain.value import replace
from agent.domain.wishes import held_document
from agent.observe.chain import chain
from agent.observe.converting import convert
from agent.observe.dsn_document import (
    dsn_check_report,
    dsn_use_report,
    time_or_null,
)
from agent.observe.results import (
    Agent,
    CurrentSnapshot,
    DsnCheckReport,
    Envelope,
    Error,
    Origin,
    ProblemReport,
    Receiver,
    SourceReport,
    StatusResult,
)
from agent.observe.target_document import role_reports, rollout_report
from agent.observe.tuning_document import boosts, ceilings, tuning_file
from resentry.contract import time_text
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.last import LastProcesses
    from agent.domain.outcome import Outcome
    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import Rollout
    from agent.domain.timeline import Timeline
    from agent.domain.view import View
    from resentry.contract import Snapshot

Kind = TypeVar("Kind")
Whole = Envelope[StatusResult]
"""What `/status` answers, and `status` prints with `--json`."""

VOLUME = Origin(by="volume")
_LISTS: dict[str, Any] = {
    "dsn_checks": DsnCheckReport,
    "last_processes": LastProcess,
    "notify": Receiver,
    "problems": ProblemReport,
    "timeline": Event,
    "undone": str,
}
NO_PASS: dict[str, Any] = msgspec.to_builtins(SourceReport())


def whole(view: View) -> Whole:
    """Return everything that is known, as `/status` answers it."""
    saved = state(view)
    origin = Origin(by="agent", at=saved["written_at"])
    result = status("running", view.known.current, view.rollout, saved, origin)
    error = not_confirmed(result)
    return Envelope(command="status", ok=error is None, result=result, error=error)


def not_confirmed(result: StatusResult) -> Error | None:
    """Return the error of a status: some process does not run what is published."""
    if result.rollout.state in DONE:
        return None
    return Error(
        code="NotConfirmed",
        what=result.rollout.sentence,
        hint=result.rollout.hint
        or "resentry-agent wait waits until every process has confirmed",
    )


def state(view: View) -> dict[str, Any]:
    """Return what only the daemon knows: the passes, the DSN checks, the receivers.

    It holds, too, when this was so, and which rollback is held.
    """
    saved = {
        "written_at": time_text(time.time()),
        "version": __version__,
        "next_at": time_or_null(view.next_pass_at),
        **held_document(view.known.wishes.held, view.known.last_good),
        **_passes(view.passes),
        "where": dict(view.source),
        "tuning": dict(view.tuning),
        "ends": dict(view.rollout.ends),
        "last_processes": list(view.last_processes),
        "last_accepted": dict(view.last_accepted),
        "dsn_checks": [dsn_check_report(report) for report in view.dsn_checks],
        "notify": receivers(view.deliveries),
        "problems": [
            ProblemReport(setting=each.setting, what=each.what, hint=each.hint)
            for each in view.problems
        ],
        "timeline": list(view.timeline),
    }
    return dict(msgspec.to_builtins(saved))


def encode_state(view: View, rejections: Any) -> bytes:
    """Return the state file: the state, and the rejections as a document."""
    return json.dumps(state(view) | {"rejections": rejections}).encode()


def decode_state(body: bytes | None) -> dict[str, Any]:
    """Return what the last agent wrote of `state`, as far as it can be read."""
    try:
        # Stricter than the json module: no half surrogates, no NaN.
        saved = NO_PASS | msgspec.json.decode(body or b"{}", type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return NO_PASS
    try:
        _source(saved)
        tuning_file(saved)
        for name, kind in _LISTS.items():
            _list(saved, name, kind)
    except msgspec.ValidationError:  # of another version
        return NO_PASS | {"rejections": saved.get("rejections")}
    return saved


def status(
    agent: Agent,
    current: Snapshot | None,
    rollout: Rollout,
    saved: Mapping[str, Any],
    origin: Origin = VOLUME,
) -> StatusResult:
    """Return everything as one object. The DSN is in its shown form.

    `saved` is what only a daemon knows, and `origin` says where that comes from.
    """
    version = _text(saved.get("version"))
    rollout = replace(rollout, ended=ended(last_processes_of(saved), rollout))
    source = _source(saved)
    if agent != "running":
        source = structs.replace(source, next_at=None)
    result = StatusResult(
        agent=agent,
        origin=origin,
        held=_text(saved.get("held")),
        undone=_list(saved, "undone", str),
        ends=_counts(saved.get("ends")),
        ended=list(rollout.ended),
        current=None if current is None else _current(current),
        source=source,
        tuning=tuning_file(saved),
        dsn_checks=_list(saved, "dsn_checks", DsnCheckReport),
        dsns=[
            dsn_use_report(use)
            for use in uses(current, rollout, time.time(), last_accepted_of(saved))
        ],
        notify=_list(saved, "notify", Receiver),
        rollout=rollout_report(current, rollout, version),
        roles=role_reports(current, rollout, [each.id for each in boosts(current)]),
        version=version,
        problems=_list(saved, "problems", ProblemReport),
        timeline=_list(saved, "timeline", Event),
    )
    return structs.replace(result, chain=chain(result))


def timeline_of(saved: Mapping[str, Any]) -> Timeline:
    """Return the timeline that the last agent wrote."""
    return tuple(_list(saved, "timeline", Event))


def last_processes_of(saved: Mapping[str, Any]) -> LastProcesses:
    """Return the processes that the last agent saw."""
    return tuple(_list(saved, "last_processes", LastProcess))


def last_accepted_of(saved: Mapping[str, Any]) -> dict[str, float]:
    """Return when each DSN was last accepted, as the last agent wrote it."""
    try:
        return convert(saved.get("last_accepted") or {}, dict[str, float])
    except msgspec.ValidationError:  # of another version
        return {}


def outcome_of(outcome: Outcome) -> dict[str, Any]:
    """Return a pass's outcome as every document shows it."""
    return {
        "outcome": outcome.kind,
        "sentence": outcome.sentence,
        "hint": outcome.hint,
        "notes": list(outcome.notes),
    }


def published_of(outcome: Outcome) -> dict[str, Any]:
    """The same, with what is published after it."""
    published = {"revision": outcome.revision, "sequence": outcome.sequence}
    return outcome_of(outcome) | published


def answer(outcome: Outcome, current: Snapshot | None) -> dict[str, Any]:
    """Return what an operator's request is answered with."""
    return {
        **published_of(outcome),
        "code": outcome.exit_code,
        "boosts": msgspec.to_builtins(boosts(current)),
        "ceilings": msgspec.to_builtins(ceilings(current)),
    }


def receivers(deliveries: Sequence[Delivery]) -> list[Receiver]:
    """Return the receivers, as every document shows them."""
    return [
        Receiver(
            receiver=delivery.receiver,
            revision=delivery.revision,
            sequence=delivery.sequence,
            failures=delivery.failures,
            error=delivery.error,
            since=time_or_null(delivery.since),
        )
        for delivery in deliveries
    ]


def masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as they may be shown: the DSN masked."""
    return {
        key: show_dsn(value) if key == "SENTRY_DSN" else value
        for key, value in values.items()
    }


def _passes(passes: Passes) -> dict[str, Any]:
    success = {"last_success_at": time_or_null(passes.last_success)}
    outcome = passes.outcome
    if outcome is None:
        return NO_PASS | success
    return {
        **outcome_of(outcome),
        "error": outcome.error,
        "fingerprint": outcome.fingerprint,
        "since": time_or_null(passes.since),
        "failures": passes.failures,
        **success,
    }


def _source(saved: Mapping[str, Any]) -> SourceReport:
    known = {key: value for key, value in saved.items() if key in NO_PASS}
    return convert(known, SourceReport)


def _list(saved: Mapping[str, Any], key: str, kind: type[Kind]) -> list[Kind]:
    return convert(saved.get(key, []), list[kind])  # type: ignore[valid-type]


def _current(current: Snapshot) -> CurrentSnapshot:
    return CurrentSnapshot(
        revision=current.revision,
        sequence=current.sequence,
        published_at=current.published_at,
        settings=masked(current.settings),
        roles={role: masked(values) for role, values in current.roles.items()},
        rules=len(current.rules),
        boosts=boosts(current),
        ceilings=ceilings(current),
        provenance={name: dict(origin) for name, origin in current.provenance.items()},
    )


def _counts(value: object) -> dict[str, int]:
    try:
        return convert(value or {}, dict[str, int])
    except msgspec.ValidationError:  # of another version
        return {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
