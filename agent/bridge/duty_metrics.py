"""The metrics of the second level of on-call, and of the canary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Gauge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import CollectorRegistry

    from agent.bridge.trips import Trips


class DutyMetrics:
    """A part of the bridge's metrics."""

    def __init__(self, registry: CollectorRegistry, names: Sequence[str]) -> None:
        self._escalated = Gauge(
            "resentry_bridge_escalated_alerts",
            "The number of critical alerts for which the second level is called.",
            ["alertmanager"],
            registry=registry,
        )
        self._failures = Gauge(
            "resentry_bridge_escalation_failures",
            "How often in a row an Alertmanager could not be asked for its critical "
            "alerts. None is escalated there meanwhile.",
            ["alertmanager"],
            registry=registry,
        )
        self._not_escalated = Gauge(
            "resentry_bridge_not_escalated_alerts",
            "The number of critical alerts for which the second level is not called, "
            "because it is called for newer ones of their group.",
            ["alertmanager"],
            registry=registry,
        )
        for name in names:
            self._not_escalated.labels(name).set(0)
            self._escalated.labels(name).set(0)
            self._failures.labels(name).set(0)
        self._canary_failures = Gauge(
            "resentry_bridge_canary_failures",
            "How often in a row Sentry did not accept the canary.",
            registry=registry,
        )
        self._sent = Gauge(
            "resentry_bridge_canary_sent_timestamp_seconds",
            "When Sentry last accepted a canary; 0 if it never has.",
            registry=registry,
        )
        self._arrived = Gauge(
            "resentry_bridge_canary_timestamp_seconds",
            "When a canary last came back as a webhook; 0 if none has.",
            registry=registry,
        )
        self._trip = Gauge(
            "resentry_bridge_canary_seconds",
            "The time from sending the newest canary that came back to its webhook.",
            registry=registry,
        )
        self._missing = Gauge(
            "resentry_bridge_canary_missing",
            "1 while the canary that should have come back has not, else 0.",
            registry=registry,
        )

    def escalated(self, alertmanager: str, alerts: int, failures: int) -> None:
        """Note what came of a look at an Alertmanager."""
        self._escalated.labels(alertmanager).set(alerts)
        self._failures.labels(alertmanager).set(failures)

    def not_escalated(self, alertmanager: str, alerts: int) -> None:
        """Note how many alerts a look has left out."""
        self._not_escalated.labels(alertmanager).set(alerts)

    def canary(self, known: Trips, failures: int, *, missing: bool) -> None:
        """Note what is known of the canaries."""
        self._canary_failures.set(failures)
        self._sent.set(known.sent)
        self._arrived.set(known.arrived)
        self._trip.set(known.seconds)
        self._missing.set(missing)
