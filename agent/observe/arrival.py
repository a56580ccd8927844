"""The last stages of the chain: what runs in the processes, and what arrives at Sentry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.domain.dsn_check import FAILING
from agent.domain.roles import ERRORS, FOREIGN, ORIGINS
from agent.domain.rollout import DONE, FOREIGN_HINT
from agent.observe.stage import Stage

if TYPE_CHECKING:
    from agent.observe.results import DsnCheckReport, StatusResult
    from agent.observe.stage import StageState
    from agent.observe.target_results import RoleReport, RolloutReport


def confirm(status: StatusResult) -> Stage:
    """Whether each process runs what is published."""
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
    more = ""
    slowest = max(rollout.targets, key=lambda target: target.swap_ms, default=None)
    if slowest is not None and slowest.swap_ms >= 1:
        more = f"; the slowest swap took {slowest.swap_ms:.0f} ms ({slowest.name})"
    return Stage(
        stage="confirm",
        state=state,
        sentence=f"{rollout.sentence}{more if state == 'ok' else ''}",
        since=None if status.ended and not rollout.targets else published,
        hint=rollout.hint,
    )


def drain(status: StatusResult) -> Stage:
    """Whether a process still sends by an older DSN."""
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


def doubtful(status: StatusResult) -> list[DsnCheckReport]:
    """Return the checks of published DSNs that have no verdict or a bad one.

    If a process had an envelope accepted since, the check counts no more.
    """
    accepted = {use.fingerprint: use.accepted_at or "" for use in status.dsns}
    return [
        check
        for check in status.dsn_checks
        if check.answers
        and check.verdict in ("unknown", *FAILING)
        and check.fingerprint in accepted
        and accepted[check.fingerprint] <= (check.since or "")
    ]


def arrive(status: StatusResult) -> Stage:
    """Whether the processes send their errors, and Sentry accepts what they send."""
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
    for role in status.roles:
        if why := _why_silent(role):
            return Stage(stage="arrive", state="broken", sentence=why[0], hint=why[1])
    hint = "resentry-agent verify sends test events"
    doubts = sorted(doubtful(status), key=lambda check: check.verdict == "unknown")
    if doubts:
        return Stage(
            stage="arrive",
            state="broken" if doubts[0].verdict in FAILING else "unknown",
            sentence=doubts[0].sentence,
            since=doubts[0].since,
            hint=hint,
        )
    is_seen = all(use.processes for use in uses)
    can_verify = not is_seen and status.rollout.targets
    return Stage(
        stage="arrive",
        state="ok" if is_seen else "unknown",
        sentence="; ".join(use.sentence for use in uses),
        hint=hint if can_verify else "",
    )


def _why_silent(role: RoleReport) -> tuple[str, str] | None:
    """Say why no error of a role arrives although each of its processes runs, and a hint.

    A role that is switched off on purpose, or that has no DSN, is not broken.
    """
    if role.off == FOREIGN:
        what = f"role {role.role} does not send by resentry: {role.off}"
        return what, FOREIGN_HINT
    if role.off:
        return None
    for rate in role.rates:
        if rate.setting == ERRORS and rate.value == 0:
            where = "in the environment variables of the process"
            if rate.origin != "environment":
                where = "at the source"
            origin = ORIGINS.get(rate.origin, "a place that is not known")
            sentence = f"role {role.role} sends no errors: {ERRORS} is 0, from {origin}"
            return sentence, f"set {ERRORS}=1 {where}"
    return None
