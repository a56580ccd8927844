"""The metrics of the live targets. Anybody may forge a receipt, so labels are bounded."""

from __future__ import annotations

import collections
import re
from typing import TYPE_CHECKING, get_args

from prometheus_client import Counter, Gauge

from agent.domain.rollout import State
from agent.observe.growth import Growth
from resentry.tally import TALLIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry

    from agent.domain.rollout import LiveTarget, Rollout

VERSIONS_LIMIT = 20
"""So many pairs of versions get labels of their own while the agent runs."""
ROLES_LIMIT = 50
"""So many roles get a label of their own while the agent runs: those that came first."""
OTHER = "other"
"""The label of all other roles and versions."""
_VERSION = re.compile(
    r"(?:[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}(?:\.?(?:a|b|rc|post|dev)[0-9]{1,5}){0,2}"
    r"(?:\+[a-z0-9.]{1,20})?)?"
)
"""A version as releases have it. An older library names none."""
RATES = (
    "SENTRY_SAMPLE_RATE",
    "SENTRY_TRACES_SAMPLE_RATE",
    "SENTRY_PROFILES_SAMPLE_RATE",
)
SESSIONS = "SENTRY_PROFILE_SESSION_SAMPLE_RATE"
REASONS = ("no_dsn", "switched_off", "foreign", "errors_off")
"""Why a target sends no errors."""


class TargetMetrics:
    """How many targets there are, in which state, what they run, and what they count."""

    def __init__(self, registry: CollectorRegistry) -> None:
        # A label is never taken back: roles that come and go would make ever new series.
        self._roles: set[str] = set()
        self._pairs: set[tuple[str, str]] = set()
        self._seen = Gauge(
            "resentry_targets_seen",
            "The number of live targets; 0 while no process has given a receipt.",
            registry=registry,
        )
        self._versions = Gauge(
            "resentry_target_versions",
            "The number of live targets, by versions of the library and of sentry-sdk. "
            f"The first {VERSIONS_LIMIT} pairs since the agent started have labels of "
            "their own; `other` counts the rest.",
            ["library", "sdk"],
            registry=registry,
        )
        self._targets = Gauge(
            "resentry_targets",
            "The number of live targets, by role and by state of the rollout. The first "
            f"{ROLES_LIMIT} roles since the agent started have a label of their own; the "
            f"role `{OTHER}` counts the rest.",
            ["role", "state"],
            registry=registry,
        )
        self._rollout = Gauge(
            "resentry_rollout_state",
            "1 for the state of the whole rollout, else 0. A rollout is also overdue while "
            "a role has fewer targets than `RESENTRY_MIN_TARGETS` says.",
            ["state"],
            registry=registry,
        )
        self._unknown = Gauge(
            "resentry_rollout_unknown",
            "1 while not all receipts can be read, so that nothing is confirmed, else 0.",
            registry=registry,
        )
        self._obstacle = Gauge(
            "resentry_rollout_obstacle",
            "1 while something keeps all targets from confirming, as a full file system, "
            "else 0.",
            registry=registry,
        )
        self._idle_roles = Gauge(
            "resentry_idle_roles",
            "The number of roles that the snapshot names and that no target has.",
            registry=registry,
        )
        self._holding = Gauge(
            "resentry_targets_holding",
            "The number of live targets in which something still sends by an older DSN and "
            "cannot follow.",
            registry=registry,
        )
        self._silent = Gauge(
            "resentry_targets_silent",
            "The number of live targets that send no errors, by role and reason.",
            ["role", "reason"],
            registry=registry,
        )
        self._rate = Gauge(
            "resentry_rate",
            "The rate that runs in the live targets of a role: the lowest and the highest "
            "one. Rules and boosts are not part of it. A rate that is off counts as 0. The "
            "rate of profile sessions is there only where its key is set.",
            ["role", "setting", "bound"],
            registry=registry,
        )
        self._started = Counter(
            "resentry_targets_started",
            "The number of targets that appeared since the agent started, by role.",
            ["role"],
            registry=registry,
        )
        self._tally = Counter(
            "resentry_tally",
            "The number of envelopes that took an unusual way, and of faults in the library, "
            "since the agent started.",
            ["tally"],
            registry=registry,
        )
        for name in TALLIES:
            self._tally.labels(name)
        self._growth: Growth[str] = Growth()
        self._known: set[str] | None = None

    def show(self, rollout: Rollout) -> None:
        """Show the targets of now."""
        self._seen.set(len(rollout.targets))
        self._name_roles(rollout)
        self._show_states(rollout)
        self._show_versions(rollout)
        self._show_values(rollout)
        if not rollout.unknown:  # else targets may be missing, and come back
            self._count(rollout)

    def _name_roles(self, rollout: Rollout) -> None:
        for target, _ in rollout.targets:
            if len(self._roles) < ROLES_LIMIT:
                self._roles.add(target.receipt.role)
            self._started.labels(self._label(target))

    def _label(self, target: LiveTarget) -> str:
        role = target.receipt.role
        return role if role in self._roles else OTHER

    def _show_states(self, rollout: Rollout) -> None:
        counts = collections.Counter(
            (self._label(target), state) for target, state in rollout.targets
        )
        self._targets.clear()
        for role in sorted({role for role, _ in counts}):
            for state in get_args(State):
                self._targets.labels(role, state).set(counts[role, state])
        for state in get_args(State):
            self._rollout.labels(state).set(state == rollout.state)
        self._unknown.set(bool(rollout.unknown))
        self._obstacle.set(bool(rollout.obstacle))
        self._idle_roles.set(len(rollout.idle_roles))
        self._holding.set(sum(bool(t.receipt.holders) for t, _ in rollout.targets))

    def _show_versions(self, rollout: Rollout) -> None:
        pairs = collections.Counter(
            # After an sdk's version may stand what is wrong with the version.
            (target.receipt.library, target.receipt.sdk.partition(" ")[0])
            for target, _ in rollout.targets
            if target.readable
        )
        shown: collections.Counter[tuple[str, str]] = collections.Counter()
        for pair, number in pairs.most_common():
            if len(self._pairs) < VERSIONS_LIMIT and all(map(_VERSION.fullmatch, pair)):
                self._pairs.add(pair)
            shown[pair if pair in self._pairs else (OTHER, OTHER)] += number
        self._versions.clear()
        for pair, number in shown.items():
            self._versions.labels(*pair).set(number)

    def _show_values(self, rollout: Rollout) -> None:
        """Show what runs, as the receipts tell it; an older library tells nothing."""
        rates: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
        silent: collections.Counter[tuple[str, str]] = collections.Counter()
        for target, _ in rollout.targets:
            if target.readable and target.receipt.values:
                role = self._label(target)
                for name in RATES:
                    rates[role, name].append(_rate(target.receipt.values.get(name)))
                sessions = target.receipt.values.get(SESSIONS)
                if sessions is not None:  # else the application's own option decides
                    rates[role, SESSIONS].append(_rate(sessions))
                silent.update((role, reason) for reason in _why_silent(target))
        self._rate.clear()
        for (role, name), found in rates.items():
            self._rate.labels(role, name, "lowest").set(min(found))
            self._rate.labels(role, name, "highest").set(max(found))
        self._silent.clear()
        for role in {role for role, _ in rates}:
            for reason in REASONS:
                self._silent.labels(role, reason).set(silent[role, reason])

    def _count(self, rollout: Rollout) -> None:
        present = {target.receipt.id for target, _ in rollout.targets}
        # A target counts when it has a receipt: before, its role is not known.
        readable = [target for target, _ in rollout.targets if target.readable]
        if self._known is None:
            self._known = {target.receipt.id for target in readable}
        for target in readable:
            if target.receipt.id not in self._known:
                self._started.labels(self._label(target)).inc()
        self._known = self._known & present | {t.receipt.id for t in readable}
        counts = {
            target.receipt.id: {
                name: target.receipt.tally.get(name, 0) for name in TALLIES
            }
            for target in readable
        }
        for name, number in self._growth.since(counts, present).items():
            self._tally.labels(name).inc(number)


def _rate(value: object) -> float:
    """Return a rate of a receipt as a number. What is none counts as off."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return 1.0 if value > 1 else float(value) if value > 0 else 0.0


def _why_silent(target: LiveTarget) -> Iterator[str]:
    """Yield why a target sends no errors by the client of the library."""
    receipt = target.receipt
    if receipt.foreign:
        yield "foreign"
    elif receipt.role == "celery" and not receipt.values.get(
        "SENTRY_ENABLE_FOR_CELERY", True
    ):
        yield "switched_off"
    elif not receipt.dsn:
        yield "no_dsn"
    elif _rate(receipt.values.get("SENTRY_SAMPLE_RATE")) == 0:
        yield "errors_off"
