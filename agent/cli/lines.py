"""Documents as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli.gather import UNRESPONSIVE_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.observe.results import (
        Boost,
        CurrentSnapshot,
        Receiver,
        SourceReport,
        StatusResult,
    )
    from agent.observe.target_results import Target


def value_text(value: object) -> str:
    """One value, as it may stand at the source."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def boost_line(boost: Boost) -> str:
    """One boost."""
    what, where = boost.match or "everything", boost.role or "every role"
    return (
        f"{boost.id}  traces {boost.traces:g} for {what} in {where}, "
        f"{boost.left_seconds} s left"
    )


def idle_role_text(role: str) -> str:
    """A role that the snapshot names and that no process has."""
    return f"no process here has the role {role}, which the snapshot names"


def receiver_lines(receivers: Sequence[Receiver]) -> list[str]:
    """Each receiver of notifications."""
    return [
        f"{receiver.receiver} "
        + (
            f"failed {_times(receiver.failures)}: {receiver.error}; "
            if receiver.error
            else ""
        )
        + (
            f"was notified of {receiver.revision}"
            if receiver.revision
            else "not notified yet"
        )
        for receiver in receivers
    ]


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def status_lines(status: StatusResult, why_unknown: str) -> Iterator[str]:
    """The whole status. `why_unknown` says why nobody knows whether an agent runs."""
    yield from _agent_lines(status, why_unknown)
    yield from _current_lines(status.current)
    if status.held is not None:
        yield (
            f"rollback  revision {status.held} is held; resentry-agent rollback --resume "
            "ends it"
        )
    for problem in status.problems:
        yield f"problem   {problem.what}"
        yield f"          {problem.hint}"
    yield from _source_lines(status.source)
    yield from _dsn_lines(status)
    for line in receiver_lines(status.notify):
        yield f"notify    {line}"
    yield f"rollout   {status.rollout.state}: {status.rollout.sentence}"
    if status.rollout.hint:
        yield f"          {status.rollout.hint}"
    for role in status.rollout.idle_roles:
        yield f"          {idle_role_text(role)}"
    for target in status.rollout.targets:
        yield from _target_lines(target)


def _agent_lines(status: StatusResult, why_unknown: str) -> Iterator[str]:
    reasons = {"unknown": why_unknown, "not responding": status.origin.why}
    why = f": {reasons[status.agent]}" if status.agent in reasons else ""
    yield f"agent     {status.agent}{why}"
    if status.agent == "not responding":
        yield f"          {UNRESPONSIVE_HINT}"
    if line := _origin_line(status):
        yield f"          {line}"


def _current_lines(current: CurrentSnapshot | None) -> Iterator[str]:
    if current is None:
        yield "current   nothing is published"
        return
    yield (
        f"current   revision {current.revision}, sequence {current.sequence}, "
        f"published {current.published_at}"
    )
    for key, value in current.settings.items():
        yield f"          {key}={value_text(value)}"
    for boost in current.boosts:
        yield f"boost     {boost_line(boost)}"


def _origin_line(status: StatusResult) -> str:
    """Say that source, DSN checks, receivers and problems are not those of now."""
    origin = status.origin
    if origin.by == "agent" or (status.agent == "unknown" and origin.at is None):
        return ""
    written = f"at {origin.at}" if origin.at else "at a time that is not known"
    is_new = status.agent == "running" and origin.why
    why = f": {origin.why}" if is_new else ""
    return f"what an agent wrote {written} is shown below{why}"


def _source_lines(source: SourceReport) -> Iterator[str]:
    since = f" since {source.since}" if source.since else ""
    yield f"source    {source.outcome or 'unknown'}{since}: {source.sentence}"
    more = (*source.notes, source.hint, _failures(source), _where(source.where))
    for line in filter(None, more):
        yield f"          {line}"


def _failures(source: SourceReport) -> str:
    if not source.failures:
        return ""
    read = source.last_success_at or "never"
    return f"{source.failures} failed in a row; last read well: {read}"


def _where(report: dict[str, Any]) -> str:
    parts = [f"{report[key]}" for key in ("address", "path", "auth") if key in report]
    if report.get("token_ends_at"):
        parts.append(f"token until {report['token_ends_at']}")
    if report.get("tls_verified") is False:
        parts.append("ITS CERTIFICATE IS NOT CHECKED")
    return ", ".join(parts)


def _target_lines(target: Target) -> Iterator[str]:
    main = ", main" if target.main else ""
    since = f" since {target.since}" if target.since else ""
    runs = f", runs {target.revision or 'no snapshot'}{since}"
    error = f": {target.error}" if target.error else ""
    versions = ", ".join(
        f"{name} {version}"
        for name, version in (("resentry", target.library), ("sentry-sdk", target.sdk))
        if version
    )
    runs += f" ({versions})" if versions else ""
    known = runs if target.readable else ""
    yield f"          {target.name}{main}  {target.state}{known}{error}"
    for note in target.notes:
        yield f"{'':19}{note}"


def _dsn_lines(status: StatusResult) -> Iterator[str]:
    for use in status.dsns:
        sentence = use.sentence.removeprefix("DSN ")
        yield f"dsn       {sentence} (fingerprint {use.fingerprint})"
        if use.hint:
            yield f"          {use.hint}"
    for check in status.dsn_checks:
        yield f"dsn check {check.dsn}: {check.verdict} since {check.since}"
