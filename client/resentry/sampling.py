"""Which trace rate a transaction gets: boost, rule, parent, rate, in this order."""

from __future__ import annotations

import fnmatch
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resentry.contract import Boost, Rule, Snapshot


class Sampler:
    """A `traces_sampler` for one snapshot and role.

    `otherwise` is the application's own sampler. Where neither boost nor rule fits,
    it decides; without one the parent's decision stands, else `rate`.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        role: str,
        *,
        rate: float,
        otherwise: Callable[[dict[str, Any]], float | bool] | None = None,
    ) -> None:
        self._rate = rate
        self._otherwise = otherwise
        self._rules = [
            (_pattern(rule), rule.traces)
            for rule in snapshot.rules
            if rule.role in (None, role)
        ]
        self._boosts = sorted(
            (
                (boost.traces, _pattern(boost), _epoch(boost.until))
                for boost in snapshot.boosts
                if boost.role in (None, role)
            ),
            key=lambda boost: -boost[0],  # of several the highest rate wins
        )

    def __call__(self, context: dict[str, Any]) -> float | bool:
        """Return the rate for one transaction, as the SDK asks it."""
        names = _names(context)
        if self._boosts:
            now = time.time()
            for traces, pattern, until in self._boosts:
                if now < until and any(map(pattern, names)):
                    return traces
        for pattern, traces in self._rules:
            if any(map(pattern, names)):
                return traces
        if self._otherwise is not None:
            return self._otherwise(context)
        parent = context.get("parent_sampled")
        return self._rate if parent is None else bool(parent)


def _pattern(item: Rule | Boost) -> Callable[[str], Any]:
    return re.compile(fnmatch.translate(item.match or "*")).match


def _epoch(until: str) -> float:
    return datetime.fromisoformat(until).timestamp()


def _names(context: Mapping[str, Any]) -> list[str]:
    """What a rule can match: the transaction's name, the request, the Celery task."""
    names = [str((context.get("transaction_context") or {}).get("name", ""))]
    scope = context.get("asgi_scope")
    if scope and "method" in scope:
        names.append(f"{scope['method']} {scope.get('path', '')}")
    job = context.get("celery_job")
    if job:
        names.append(str(job.get("task", "")))
    return names
