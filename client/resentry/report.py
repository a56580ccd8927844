"""What a target says of itself: to the agent in its receipt, to people in `status()`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resentry._version import __version__
from resentry.contract import Receipt
from resentry.process import here
from resentry.receipt import Identity
from resentry.sdk.versions import described
from resentry.values import show_dsn

if TYPE_CHECKING:
    from resentry.target import Target


def receipt(target: Target) -> Receipt:
    """Return the receipt of this moment."""
    home, running, follower = here(), target.running, target.follower
    snapshot = running.snapshot if running is not None else None
    me = follower.identity if follower is not None else Identity(home)
    signal, tid = follower.signal if follower is not None else (None, None)
    refusal, holders = target.refusal, target.holders()
    return Receipt(
        id=me.id,
        role=target.plan.role,
        pid=me.pid,
        pidns=me.pidns,
        start_time=me.start_time,
        parent=me.parent,
        revision=snapshot.revision if snapshot is not None else None,
        sequence=snapshot.sequence if snapshot is not None else 0,
        phase="running" if target.retiring or holders else "drained",
        since=running.since if running is not None else "",
        swap_ms=running.swap_ms if running is not None else 0.0,
        refused=refusal.name if refusal is not None else None,
        error=target.error,
        signal=signal,
        tid=tid,
        watch=follower.kind if follower is not None else "none",
        tally=home.tally.as_dict(),
        origins=running.effective.origins if running is not None else {},
        sdk=described(),
        library=__version__,
        dsn=running.dsn if running is not None else "",
        holders=holders,
        ignored=snapshot.ignored if snapshot is not None else (),
    )


def status(target: Target) -> dict[str, Any]:
    """Return what runs here, with the DSN in its shown form."""
    running, told = target.running, receipt(target)
    values = dict(running.effective.values) if running is not None else {}
    values["SENTRY_DSN"] = show_dsn(values.get("SENTRY_DSN", ""))
    follower = target.follower
    unseen = (follower.failure or follower.receipts.shown) if follower else None
    return {
        "role": told.role,
        "revision": told.revision,
        "sequence": told.sequence,
        "phase": told.phase,
        "since": told.since,
        "error": told.error or unseen or target.plan.problem,
        "sdk": told.sdk,
        "tally": dict(told.tally),
        "values": values,
        "origins": dict(told.origins),
    }
