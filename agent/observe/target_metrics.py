"""The metrics of the live targets. Anybody may forge a receipt, so labels are bounded."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, get_args

from prometheus_client import Gauge

from agent.domain.rollout import State

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from agent.domain.rollout import Rollout

VERSIONS_LIMIT = 20
"""The number of pairs of versions with labels of their own."""
ROLES_LIMIT = 50
"""The number of roles with a label of their own. The roles that came first have one."""
OTHER_ROLES = "other"
"""The label of all other roles."""


class TargetMetrics:
    """How many targets there are, in which state, and of which versions."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._roles: list[str] = []
        self._seen = Gauge(
            "resentry_targets_seen",
            "The number of live targets; 0 while no process has given a receipt.",
            registry=registry,
        )
        self._versions = Gauge(
            "resentry_target_versions",
            "The number of live targets, by versions of the library and of sentry-sdk. "
            "Of more than "
            f"{VERSIONS_LIMIT} pairs, `other` counts the rest.",
            ["library", "sdk"],
            registry=registry,
        )
        self._targets = Gauge(
            "resentry_targets",
            "The number of live targets, by role and by state of the rollout. Of more than "
            f"{ROLES_LIMIT} roles, the role `{OTHER_ROLES}` counts those that came last.",
            ["role", "state"],
            registry=registry,
        )

    def show(self, rollout: Rollout) -> None:
        """Show the targets of now."""
        self._seen.set(len(rollout.targets))
        self._show_states(rollout)
        self._show_versions(rollout)

    def _show_states(self, rollout: Rollout) -> None:
        present = dict.fromkeys(target.receipt.role for target, _ in rollout.targets)
        known = [role for role in self._roles if role in present]
        new = [role for role in present if role not in known]
        self._roles = [*known, *new][:ROLES_LIMIT]
        counts = collections.Counter(
            (
                role if (role := target.receipt.role) in self._roles else OTHER_ROLES,
                state,
            )
            for target, state in rollout.targets
        )
        self._targets.clear()
        for role in sorted({role for role, _ in counts}):
            for state in get_args(State):
                self._targets.labels(role, state).set(counts[role, state])

    def _show_versions(self, rollout: Rollout) -> None:
        pairs = collections.Counter(
            (target.receipt.library, target.receipt.sdk)
            for target, _ in rollout.targets
            if target.readable
        )
        self._versions.clear()
        for pair, number in pairs.most_common(VERSIONS_LIMIT):
            self._versions.labels(*pair).set(number)
        if rest := sum(n for _, n in pairs.most_common()[VERSIONS_LIMIT:]):
            self._versions.labels("other", "other").set(rest)
