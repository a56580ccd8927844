"""The metrics of ceilings, error rules and budgets. Labels are bounded, as of targets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Counter, Gauge

from agent.domain.tuned import budget_uses, unhonoured
from agent.domain.wishes import running
from agent.observe.growth import Growth
from resentry.formats import moment

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from agent.domain.rollout import Rollout
    from agent.domain.view import View
    from resentry.contract import Receipt, Snapshot

LABELS_LIMIT = 100
"""So many pairs of labels are shown while the agent runs: those that came first."""
OTHER = "other"


class TuningMetrics:
    """What ceilings, error rules and budgets do in the live targets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._dropped_pairs: set[tuple[str, str]] = set()
        self._share_roles: set[str] = set()
        self._growth: Growth[tuple[str, str]] = Growth()
        self._dropped = Counter(
            "resentry_errors_dropped",
            "The number of errors that the live targets did not send since the agent "
            "started, by role and by what dropped them. The first "
            f"{LABELS_LIMIT} pairs have labels of their own; `{OTHER}` counts the rest.",
            ["role", "cause"],
            registry=registry,
        )
        self._share = Gauge(
            "resentry_budget_share",
            "The lowest share that a budget lets pass now in a live target of the role, from "
            "0 to 1, of events that no rule and no boost names; what they name goes first. The metric is missing for a role without a budget.",
            ["role", "budget"],
            registry=registry,
        )
        self._ceilings = Gauge(
            "resentry_ceilings",
            "The number of ceilings that have not ended.",
            registry=registry,
        )
        self._ceilings_end = Gauge(
            "resentry_ceilings_end_timestamp_seconds",
            "When the last of the ceilings in force ends; 0 if none has an end.",
            registry=registry,
        )
        self._too_old = Gauge(
            "resentry_targets_too_old",
            "The number of live targets whose library is too old for a ceiling, an error "
            "rule or a budget that is for them: they send as if it were not there.",
            registry=registry,
        )

    def show(self, view: View) -> None:
        """Show the ceilings and targets of now."""
        current, rollout = view.known.current, view.rollout
        ceilings = running(current.ceilings if current else (), time.time())
        self._ceilings.set(len(ceilings))
        ends = [moment(each.until) for each in ceilings if each.until is not None]
        self._ceilings_end.set(max(ends, default=0.0))
        receipts = [t.receipt for t, _ in rollout.targets if t.readable]
        self._too_old.set(sum(bool(unhonoured(current, each)) for each in receipts))
        self._show_shares(current, receipts)
        if not rollout.unknown:  # else targets may be missing, and come back
            self._count(receipts, rollout)

    def _show_shares(self, current: Snapshot | None, receipts: list[Receipt]) -> None:
        by_role: dict[str, list[Receipt]] = {}
        for receipt in receipts:
            by_role.setdefault(receipt.role, []).append(receipt)
        self._share.clear()
        for role, own in by_role.items():
            for use in budget_uses(current, role, own):
                if use.share is None:
                    continue
                if len(self._share_roles) < LABELS_LIMIT // 2:
                    self._share_roles.add(role)
                if role in self._share_roles:
                    self._share.labels(role, use.kind).set(use.share)

    def _count(self, receipts: list[Receipt], rollout: Rollout) -> None:
        counts = {
            each.id: {
                (each.role, cause): n for cause, n in (each.dropped or {}).items()
            }
            for each in receipts
        }
        present = {target.receipt.id for target, _ in rollout.targets}
        for pair in sorted({pair for own in counts.values() for pair in own}):
            if len(self._dropped_pairs) < LABELS_LIMIT:
                self._dropped_pairs.add(pair)
                self._dropped.labels(*pair)
        for pair, number in self._growth.since(counts, present).items():
            labels = pair if pair in self._dropped_pairs else (OTHER, OTHER)
            self._dropped.labels(*labels).inc(number)
