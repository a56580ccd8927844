"""Which trace rate a transaction gets: boost, rule, parent, rate, in this order."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resentry.harmless import fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resentry.contract import Snapshot


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
        rules = [rule for rule in snapshot.rules if rule.role in (None, role)]
        boosts = [boost for boost in snapshot.boosts if boost.role in (None, role)]
        boosts.sort(key=lambda boost: -boost.traces)  # of several the highest wins
        self._rules = _Patterns([rule.match for rule in rules])
        self._rates = [rule.traces for rule in rules]
        self._boosts = [
            (_Patterns([boost.match or "*"]), boost.traces, _epoch(boost.until))
            for boost in boosts
        ]

    def __call__(self, context: dict[str, Any]) -> float | bool:
        """Return the rate for one transaction, as the SDK asks it."""
        try:
            own = self._decide(context)
        except Exception:  # noqa: BLE001 - a request must not fail for its trace
            fault("sampling")
            own = None
        if own is not None:
            return own
        if self._otherwise is not None:
            return self._otherwise(context)
        parent = context.get("parent_sampled")
        return self._rate if parent is None else bool(parent)

    def _decide(self, context: Mapping[str, Any]) -> float | None:
        names = _names(context)
        if self._boosts:
            now = time.time()
            for patterns, traces, until in self._boosts:
                if now < until and patterns.first(names) is not None:
                    return traces
        rule = self._rules.first(names)
        return None if rule is None else self._rates[rule]


class _Patterns:
    """Ordered patterns as one expression: its alternatives are tried in their order."""

    def __init__(self, patterns: Sequence[str]) -> None:
        parts = (
            f"({'.*'.join(map(re.escape, pattern.split('*')))})" for pattern in patterns
        )
        self._match = re.compile(f"(?:{'|'.join(parts)})\\Z", re.DOTALL).match
        self._any = bool(patterns)

    def first(self, names: Sequence[str]) -> int | None:
        """Return the position of the first pattern that fits one of the names."""
        if not self._any:
            return None
        found = [match.lastindex for match in map(self._match, names) if match]
        return min(at - 1 for at in found if at) if found else None


def _epoch(until: str) -> float:
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(until.replace("Z", "+00:00")).timestamp()


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
