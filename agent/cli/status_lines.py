"""The status as lines for people: the chain first, then roles, processes and counts."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from agent.cli.gather import UNRESPONSIVE_HINT
from agent.cli.lines import (
    idle_role_text,
    receiver_lines,
    tuning_lines,
    value_text,
)
from agent.cli.status_texts import (
    count_texts,
    rates_line,
    tuning_file_lines,
    why_lines,
)
from agent.cli.words import with_ages
from agent.domain.passes import GOOD
from agent.domain.provenance import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from agent.observe.results import SourceReport, StatusResult
    from agent.observe.stage import Stage
    from agent.observe.target_results import Target

    Paint = Callable[[str, str], str]
    """Returns a text in the colour of a state."""

MARKS = {
    "ok": "ok",
    "waiting": "..",
    "held": "held",
    "broken": "!!",
    "unknown": "?",
    "off": "-",
}
FIRST = "   <- here the chain breaks first"
_IN = " " * 15


def plain(text: str, _state: str) -> str:
    """Return the text without a colour."""
    return text


def status_lines(
    status: StatusResult, why_unknown: str, paint: Paint = plain
) -> Iterator[str]:
    """Yield the whole status. `why_unknown` says why nobody knows whether an agent runs."""
    now = time.time()
    for line in _lines(status, why_unknown, paint):
        yield with_ages(line, now)


def _lines(status: StatusResult, why_unknown: str, paint: Paint) -> Iterator[str]:
    yield from _agent_lines(status, why_unknown)
    for problem in status.problems:
        yield paint(_row("!!", "problem", problem.what), "broken")
        yield f"{_IN}{problem.hint}"
    for stage in status.chain:
        yield paint(_row(MARKS[stage.state], stage.stage, _said(stage)), stage.state)
        if stage.hint:
            yield f"{_IN}next: {stage.hint}"
        for line in filter(None, _DETAILS.get(stage.stage, _nothing)(status)):
            yield f"{_IN}{line}"
    for role in status.roles:
        yield _row("", "rates", rates_line(role))
        for line in why_lines(role, status):
            yield f"{_IN}{line}"
    for target in status.rollout.targets:
        yield from _target_lines(target)
    yield from _dsn_lines(status, paint)
    for name, text in count_texts(status):
        yield _row("", name, text)
    yield from _last_refusal(status)


def _row(mark: str, name: str, text: str) -> str:
    return f"{mark:4} {name:10}{text}"


def _said(stage: Stage) -> str:
    since = f", since {stage.since}" if stage.since else ""
    return f"{stage.sentence}{since}{FIRST if stage.first_broken else ''}"


def _agent_lines(status: StatusResult, why_unknown: str) -> Iterator[str]:
    reasons = {"unknown": why_unknown, "not responding": status.origin.why}
    why = f": {reasons[status.agent]}" if status.agent in reasons else ""
    version = f", version {status.version}" if status.version else ""
    yield _row("", "agent", f"{status.agent}{version}{why}")
    if status.agent == "not responding":
        yield f"{_IN}{UNRESPONSIVE_HINT}"
    if line := _origin_line(status):
        yield f"{_IN}{line}"


def _origin_line(status: StatusResult) -> str:
    """Say that source, DSN checks, receivers and problems are not those of now."""
    origin = status.origin
    if origin.by == "agent" or (status.agent == "unknown" and origin.at is None):
        return ""
    written = f"at {origin.at}" if origin.at else "at a time that is not known"
    is_new = status.agent == "running" and origin.why
    why = f": {origin.why}" if is_new else ""
    return f"what an agent wrote {written} is shown below{why}"


def _nothing(_status: StatusResult) -> Iterable[str]:
    return ()


def _source_details(status: StatusResult) -> Iterator[str]:
    source = status.source
    shown = {stage.sentence for stage in status.chain}
    if source.outcome is not None and source.sentence not in shown:
        is_good = source.outcome in GOOD
        since = f" since {source.since}" if source.since else ""
        good = f"passes are good{since}; " if is_good and since else ""
        when = "" if is_good else since
        yield f"{good}newest pass: {source.outcome}{when}: {source.sentence}"
    yield from source.notes
    yield _failures(source)
    yield _where(source.where, is_named=status.chain[0].state != "broken")


def _failures(source: SourceReport) -> str:
    if not source.failures:
        return ""
    read = source.last_success_at or "never"
    return f"{source.failures} failed in a row; last read well: {read}"


def _where(report: dict[str, Any], *, is_named: bool) -> str:
    """Return what the stage does not say of the source; with `is_named`, not where it is."""
    names = () if is_named else ("address", "path")
    parts = [f"{report[name]}" for name in names if name in report]
    if report.get("auth"):
        parts.append(f"login by {report['auth']}")
    if report.get("tls_verified") is False:
        parts.append("ITS CERTIFICATE IS NOT CHECKED")
    return ", ".join(parts)


def _value_details(status: StatusResult) -> Iterator[str]:
    current = status.current
    if status.tuning is not None:
        yield from tuning_file_lines(status.tuning)
    if current is None:
        return
    origins = {
        name: origin_of(origin)
        for name, origin in current.provenance.items()
        if name in current.settings
    }
    is_one = len(set(origins.values())) <= 1  # the sentence of the stage names it
    for key, value in current.settings.items():
        origin = (
            "" if is_one else f"  ({origins.get(key) or 'its origin is not known'})"
        )
        yield f"{key}={value_text(value)}{origin}"
    for role, values in current.roles.items():
        for key, value in values.items():
            yield f"role {role}: {key}={value_text(value)}"


def _check_details(status: StatusResult) -> Iterator[str]:
    for check in status.dsn_checks:
        yield f"{check.dsn}: {check.verdict} since {check.since}"


def _notify_details(status: StatusResult) -> Iterable[str]:
    return receiver_lines(status.notify)


def _confirm_details(status: StatusResult) -> Iterator[str]:
    for role in status.rollout.idle_roles:
        yield idle_role_text(role)
    for each in status.ended if status.rollout.targets else ():
        yield f"role {each.role} has no process left: {each.sentence}"


_DETAILS: dict[str, Callable[[StatusResult], Iterable[str]]] = {
    "source": _source_details,
    "values": _value_details,
    "checks": _check_details,
    "publish": lambda status: tuning_lines(status.current),
    "notify": _notify_details,
    "confirm": _confirm_details,
}


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
    yield _row("", "process", f"{target.name}{main}  {target.state}{known}{error}")
    for note in target.notes:
        yield f"{_IN}{note}"
    if target.unhonoured:
        yield (
            f"{_IN}its library is too old for the snapshot's "
            f"{' and '.join(target.unhonoured)}, and sends without them: upgrade resentry"
        )
    if target.is_apart:
        yield f"{_IN}its library and the agent are too far apart: upgrade the older one"


def _dsn_lines(status: StatusResult, paint: Paint) -> Iterator[str]:
    published = {use.fingerprint for use in status.dsns}
    users = Counter(target.dsn for target in status.rollout.targets if target.readable)
    for use in status.dsns:
        is_said = any(use.sentence == stage.sentence for stage in status.chain)
        sentence = use.dsn if is_said else use.sentence.removeprefix("DSN ")
        number = users.get(use.fingerprint, 0)
        line = f"{use.fingerprint}, {number} process{'es' * (number != 1)}: {sentence}"
        yield paint(_row("", "dsn", line), "broken" if use.hint else "")
        if use.hint and not is_said:
            yield f"{_IN}{use.hint}"
    older: dict[str, list[str]] = {}
    for target in status.rollout.targets:
        if target.dsn and target.dsn not in published:
            older.setdefault(target.dsn, []).append(target.name)
        for holder in target.holders:
            older.setdefault(holder.dsn, []).append(f"{holder.kind} in {target.name}")
    for dsn, names in older.items():
        yield paint(_row("", "old dsn", f"{dsn}: held by {', '.join(names)}"), "held")


def _last_refusal(status: StatusResult) -> Iterator[str]:
    refusals = [event for event in status.timeline if event.kind == "refused"]
    if refusals and status.source.outcome != "refused":  # else the chain shows it
        last = refusals[-1]
        later = status.timeline[status.timeline.index(last) :]
        ends = [event.at for event in later if event.kind == "recovered"]
        mended = f"; mended at {ends[0]}" if ends else ""
        yield _row("", "refused", f"last at {last.at}: {last.sentence}{mended}")
