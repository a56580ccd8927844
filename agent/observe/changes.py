"""Logs and counts what has changed from one view to the next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog

from agent._version import commit
from agent.domain.answers import uses
from agent.domain.passes import GOOD
from agent.domain.rollout import DONE
from agent.domain.value import replace
from agent.errors import REPORT
from agent.observe.logs import LEVEL
from agent.observe.tuning_changes import log_bounds

if TYPE_CHECKING:
    from agent.domain.dsn_check import DsnReport
    from agent.domain.outcome import Outcome
    from agent.domain.receiver import Delivery
    from agent.domain.rollout import Rollout
    from agent.domain.view import View
    from agent.errors import AgentError
    from agent.observe.metrics import Metrics
    from agent.settings import Settings
    from resentry.contract import Snapshot

NAMED = 10
"""The number of targets that one log line names at most."""

log = structlog.get_logger()


def log_changes(before: View, after: View) -> None:
    """Log each change once."""
    if after.known.repairs != before.known.repairs:
        _log_repairs(after.known.repaired)
    if after.passes is not before.passes and after.passes.outcome is not None:
        _log_pass(after)
    is_new = after.rollout is not before.rollout
    if is_new and _line(after.rollout) != _line(before.rollout):
        _log_rollout(after.rollout, after.known.current)
    if after.problems != before.problems:
        _log_problems(before, after)
    if after.dsn_checks != before.dsn_checks:
        _log_dsn_checks(before, after)
    _log_uses(before, after)
    log_bounds(before, after)
    if after.deliveries != before.deliveries:
        _log_deliveries(before, after)


def count_changes(before: View, after: View, metrics: Metrics | None) -> None:
    """Set the metrics to the newest view. A bug in a metric must not hide the view."""
    if metrics is None:
        return
    try:
        _count_changes(before, after, metrics)
    except Exception:
        log.exception("a metric failed with an internal error", hint=REPORT)


def _count_changes(before: View, after: View, metrics: Metrics) -> None:
    if after.passes is not before.passes and after.passes.outcome is not None:
        metrics.passed(after.passes)
    if after.confirmed_at is not None and before.confirmed_at is None:
        metrics.confirmed(after, after.confirmed_at - after.known.published_at)
    if after.known.repairs != before.known.repairs:
        metrics.repaired(after.known.repairs - before.known.repairs)
    metrics.show(after)


def log_start(settings: Settings, version: str) -> None:
    """Log what starts: version and commit, where it reads, writes and listens."""
    log.info(
        "agent started",
        version=version,
        commit=commit() or "from a source tree",
        source=settings.shown_source,
        tuning=settings.tuning_path or "off",
        volume=settings.dir,
        environment=settings.environment,
        environment_place=settings.environment_place,
        http_listen=str(settings.http_listen or "off"),
        probes_listen=str(settings.probes_listen or "off"),
    )


def log_start_without(view: View, settings: Settings) -> None:
    """Log that applications start now without a snapshot, if there is none."""
    if view.known.current is None:
        sentence = (
            f"nothing is published after {settings.startup_seconds:g} s: /startupz is 200 "
            "now, and applications start with their own environment variables"
        )
        log.warning(
            sentence,
            hint="resentry-agent status shows why nothing is published; "
            "RESENTRY_STARTUP_SECONDS sets the time",
        )


def log_boost_end(outcome: Outcome, metrics: Metrics | None) -> None:
    """Log and count what the end of a boost or a ceiling came to."""
    if outcome.kind != "unchanged":
        _count_request(metrics, "boost_end", outcome.kind)
        level = "info" if outcome.exit_code == 0 else "error"
        _log_outcome(
            level, outcome, f"{outcome.sentence}; a boost or a ceiling has ended"
        )


def log_tuning(outcome: Outcome, metrics: Metrics | None) -> None:
    """Log and count what a change of the tuning file came to."""
    if outcome.kind != "unchanged" and outcome.revision is not None:
        _count_request(metrics, "tuning_file", outcome.kind)
        level = "info" if outcome.exit_code == 0 else "error"
        _log_outcome(level, outcome, f"{outcome.sentence}; the tuning file has changed")


def log_request(outcome: Outcome, request: str, metrics: Metrics | None) -> None:
    """Log and count the outcome of an operator's request."""
    _count_request(metrics, request, outcome.kind)
    level = "info" if outcome.exit_code == 0 else "error"
    _log_outcome(level, outcome, outcome.sentence, asked=request)


def log_refresh(outcome: Outcome, metrics: Metrics | None) -> None:
    """Count a `refresh`. Its pass has a log line of its own."""
    _count_request(metrics, "refresh", outcome.kind)


def log_refused_request(
    error: AgentError, request: str, metrics: Metrics | None
) -> None:
    """Log and count an operator's request that the agent refuses."""
    _count_request(metrics, request, "denied")
    sentence = f"the request {request} is refused: {error.what}"
    log.warning(sentence, asked=request, hint=error.hint)


def _count_request(metrics: Metrics | None, request: str, outcome: str) -> None:
    if metrics is not None:
        metrics.asked(request, outcome)


def _log_pass(view: View) -> None:
    passes, outcome = view.passes, view.passes.outcome
    if outcome is None or not (passes.is_news or LEVEL.shows("debug")):
        return
    level = "error"
    if not passes.is_news:
        level = "debug"
    elif outcome.kind in GOOD:
        level = "info"
    sentence = outcome.sentence
    if passes.outage:
        sentence = f"{sentence}; {passes.outage}"
    # Each of these has a line of its own.
    logged = {report.sentence for report in view.dsn_checks} | {*view.known.repaired}
    logged |= {problem.what for problem in view.problems}
    notes = tuple(note for note in outcome.notes if note not in logged)
    shown = replace(outcome, notes=notes)
    _log_outcome(level, shown, sentence, seconds=round(passes.seconds, 3))


def _log_outcome(level: str, outcome: Outcome, sentence: str, **details: Any) -> None:
    for name in ("error", "revision", "sequence", "hint", "notes"):
        if value := getattr(outcome, name):
            details[name] = value
    getattr(log, level)(sentence, outcome=outcome.kind, **details)


def _log_problems(before: View, after: View) -> None:
    for problem in after.problems:
        if problem not in before.problems:
            log.error(problem.what, setting=problem.setting, hint=problem.hint)
    left = {problem.setting for problem in after.problems}
    for problem in before.problems:
        if problem.setting not in left:
            log.info("a problem is over", setting=problem.setting, was=problem.what)


def _log_repairs(repaired: tuple[str, ...]) -> None:
    sentence = f"the volume was repaired: {'; '.join(repaired)}"
    log.warning(
        sentence, hint="find out who else writes to the volume: only the agent may"
    )


def _line(rollout: Rollout) -> tuple[object, ...]:
    return rollout.state, rollout.sentence, rollout.notes


def _log_rollout(rollout: Rollout, current: Snapshot | None) -> None:
    is_odd = rollout.unknown or rollout.obstacle
    is_bad = rollout.state not in (*DONE, "waiting") or is_odd
    details: dict[str, Any] = {}
    if current is not None:
        details = {"revision": current.revision, "sequence": current.sequence}
    if rollout.notes:
        details["targets"] = rollout.notes[:NAMED]
    if rollout.hint:
        details["hint"] = rollout.hint
    level = "warning" if is_bad else "info"
    getattr(log, level)(rollout.sentence, rollout=rollout.state, **details)


def _verdict(report: DsnReport) -> tuple[str, bool]:
    return report.verdict, report.settled


def _log_dsn_checks(before: View, after: View) -> None:
    verdicts = {report.fingerprint: _verdict(report) for report in before.dsn_checks}
    for report in after.dsn_checks:
        if verdicts.get(report.fingerprint) != _verdict(report):
            _log_dsn_check(report)


def _log_dsn_check(report: DsnReport) -> None:
    is_bad = report.verdict in ("rejected", "config_error", "limited") or (
        report.verdict in ("unknown", "rejected_once") and report.settled
    )
    level = "warning" if is_bad else "info"
    details = {"hint": report.hint} if report.hint else {}
    getattr(log, level)(
        report.sentence, verdict=report.verdict, settled=report.settled, **details
    )


def _log_uses(before: View, after: View) -> None:
    """Log when the kind of a server's answers to the processes changes, either way."""
    if after.rollout is before.rollout and after.known.current is before.known.current:
        return
    now = time.time()
    known = {
        use.fingerprint: use.bad
        for use in uses(before.known.current, before.rollout, now)
    }
    for use in uses(after.known.current, after.rollout, now):
        if known.get(use.fingerprint, ()) == use.bad:
            continue
        if use.bad:
            log.warning(use.sentence, dsn=use.fingerprint, hint=use.hint)
        else:
            log.info(use.sentence, dsn=use.fingerprint)


def _result(delivery: Delivery) -> tuple[str | None, bool]:
    # The text of the error does not count: it may change with every try.
    return delivery.revision, delivery.error is not None


def _log_deliveries(before: View, after: View) -> None:
    results = {delivery.receiver: _result(delivery) for delivery in before.deliveries}
    for delivery in after.deliveries:
        if results.get(delivery.receiver, (None, False)) != _result(delivery):
            _log_delivery(delivery)


def _log_delivery(delivery: Delivery) -> None:
    name, error = delivery.receiver, delivery.error
    if error is None:
        sentence = f"notified {name} of revision {delivery.revision}"
        log.info(sentence, sequence=delivery.sequence)
    else:
        sentence = f"notification to {name} failed; it is repeated: {error}"
        log.warning(sentence)
