"""What a target reports: a receipt for the agent, and `status()` for people."""

from __future__ import annotations

import operator
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from resentry import holders
from resentry._version import __version__
from resentry.contract import Holder, Receipt
from resentry.error_sampling import error_sampler_of
from resentry.process import here
from resentry.receipt_file import Identity
from resentry.sampled import BUDGETS, Counts
from resentry.sampling import sampler_of
from resentry.sdk.client import is_ours
from resentry.sdk.versions import described
from resentry.swap import OPTIONAL
from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from resentry._types import Status
    from resentry.plan import Running
    from resentry.target import Target


SAMPLERS = ("error_sampler", "profiles_sampler", "traces_sampler")
"""Options of the application, each in place of a rate."""
OWN = (*SAMPLERS, *OPTIONAL, "enable_tracing")
"""Options of the application that a receipt names."""
FOREIGN = (
    "the application called sentry_sdk.init itself: its client stays, and no snapshot "
    "runs. Next: call resentry.init instead."
)


def _error(target: Target) -> str | None:
    """Return why the newest snapshot does not run here."""
    if target.is_foreign:
        return FOREIGN
    refused = target.refusal.reason if target.refusal is not None else None
    newest = target.newest
    if newest is None or newest.unread:
        return newest.unread if newest is not None else refused
    return "; ".join(filter(None, (refused, newest.unreachable.shown))) or None


def _holders(target: Target) -> tuple[Holder, ...]:
    """Return what else in this process still sends by an older DSN."""
    dsn = target.running.dsn if target.running is not None else ""
    named = holders.find(target.dsns, dsn, is_ours)
    return tuple(Holder(kind, mark) for kind, mark in named)


def _overruled(option: str) -> str:
    return f"the application gives the option {option}, which the snapshot decides"


def _is_own(options: Mapping[str, Any], name: str) -> bool:
    given = options.get(name)
    if name == "enable_tracing":
        return given is False
    return callable(given) if name in SAMPLERS else given is not None


def _values(running: Running | None) -> dict[str, Any]:
    """Return what runs, without the DSN."""
    values = running.effective.values if running is not None else {}
    return {name: value for name, value in values.items() if name != "SENTRY_DSN"}


def _rules(running: Running | None) -> dict[str, Any]:
    """Return what rules, error rules and ceilings of the snapshot have matched here."""
    client = running.client if running is not None else None
    samplers = sampler_of(client), error_sampler_of(client)
    (decided, matched), (decided_errors, matched_errors) = (
        each.counts if each is not None else (0, "0") for each in samplers
    )
    ceilings = [each.ceilings.matched for each in samplers if each is not None]
    return {
        "decided": decided,
        "matched": matched,
        "decided_errors": decided_errors,
        "matched_errors": matched_errors,
        "matched_ceilings": f"{reduce(operator.or_, ceilings, 0):x}",
    }


def _counts(running: Running | None) -> Counts:
    """Return what rules, ceilings and budgets do here now."""
    client = running.client if running is not None else None
    traces, errors = sampler_of(client), error_sampler_of(client)
    budgets = [each.budget if each is not None else None for each in (traces, errors)]
    return Counts(
        here().sampled.dropped.copy(),
        {
            kind: float(f"{budget.share():.3g}")
            for kind, budget in zip(BUDGETS, budgets, strict=True)
            if budget is not None
        },
    )


def receipt(target: Target) -> Receipt:
    """Return the receipt as it is now."""
    home, running, follower = here(), target.running, target.follower
    snapshot = running.snapshot if running is not None else None
    me = follower.identity if follower is not None else Identity(home)
    signal, tid = follower.signal if follower is not None else (None, None)
    refusal, held = target.refusal, _holders(target)
    sampled = home.sampled.shown(_counts(running))
    return Receipt(
        id=me.id,
        role=target.plan.role,
        pid=me.pid,
        pidns=me.pidns,
        start_time=me.start_time,
        parent=me.parent,
        revision=snapshot.revision if snapshot is not None else None,
        sequence=snapshot.sequence if snapshot is not None else 0,
        phase="running" if target.retiring or held else "drained",
        since=running.since if running is not None else "",
        swap_ms=running.swap_ms if running is not None else 0.0,
        refused=refusal.name if refusal is not None else None,
        error=_error(target),
        signal=signal,
        tid=tid,
        watch=follower.kind if follower is not None else "none",
        tally=home.tally.as_dict(),
        origins=running.effective.origins if running is not None else {},
        sdk=described(),
        library=__version__,
        dsn=running.dsn if running is not None else "",
        answers=home.answers.shown(),
        holders=held,
        problems=(*target.plan.problems, *map(_overruled, target.plan.overruled)),
        values=_values(running),
        foreign=target.is_foreign,
        verified=follower.verifier.verified if follower is not None else None,
        before=target.before,
        **_rules(running),
        dropped=sampled.dropped,
        budgets=sampled.budgets,
        ignored=snapshot.ignored if snapshot is not None else (),
        own=tuple(sorted(filter(partial(_is_own, target.plan.options), OWN))),
    )


def status(target: Target) -> Status:
    """Return what runs here, with the DSN in its shown form."""
    running, now = target.running, receipt(target)
    values = dict(running.effective.values) if running is not None else {}
    values["SENTRY_DSN"] = show_dsn(values.get("SENTRY_DSN", ""))
    follower = target.follower
    unseen = (follower.failure or follower.receipts.shown) if follower else None
    return {
        "role": now.role,
        "revision": now.revision,
        "sequence": now.sequence,
        "phase": now.phase,
        "since": now.since,
        "error": now.error or unseen or "; ".join(target.plan.problems) or None,
        "sdk": now.sdk,
        "tally": dict(now.tally),
        "values": values,
        "origins": dict(now.origins),
    }
