"""The bridge's metrics. docs/metrics.md is generated from this module."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from agent.bridge.duty_metrics import DutyMetrics
from agent.bridge.news import OTHER, RESOURCES, SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from agent.bridge.reading import Webhooks

GAPS = ("begin", "end")
RESULTS = (
    *("opened", "renewed", "closed", "older", "duplicate", "ignored", "canary"),
    *("refused", "not_understood", "busy", "error"),
)
"""What becomes of a request for the webhook's address."""


class BridgeMetrics:
    """The metrics of one bridge, in a registry of their own."""

    def __init__(self, version: str, alertmanagers: Sequence[str] = ()) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._rendering = threading.Lock()
        ProcessCollector(registry=self.registry)
        Info(
            "resentry_bridge", "The version of the bridge.", registry=self.registry
        ).info({"version": version})
        self._webhooks = Counter(
            "resentry_bridge_webhooks",
            "The number of requests to the webhook's address, by what became of them.",
            ["resource", "result"],
            registry=self.registry,
        )
        for resource in (*RESOURCES, OTHER):
            for result in RESULTS:
                self._webhooks.labels(resource, result)
        self._newest = Gauge(
            "resentry_bridge_webhook_timestamp_seconds",
            "When the newest webhook of a resource came whose signature was right. The "
            "metric is missing before the first one.",
            ["resource"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "resentry_bridge_acknowledge_seconds",
            "The time from a webhook's header to its answer.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
            registry=self.registry,
        )
        self._open = Gauge(
            "resentry_bridge_open_alerts",
            "The number of open alerts.",
            ["severity"],
            registry=self.registry,
        )
        self._waiting = Gauge(
            "resentry_bridge_waiting",
            "The number of webhooks that wait to be written.",
            registry=self.registry,
        )
        self._failing = Gauge(
            "resentry_bridge_store_failing",
            "1 while the store cannot be written, else 0. Webhooks are then answered "
            "with 503.",
            registry=self.registry,
        )
        self._posted = Counter(
            "resentry_bridge_posted_alerts",
            "The number of alerts that an Alertmanager was sent, with repetitions.",
            ["alertmanager"],
            registry=self.registry,
        )
        self._rejected = Counter(
            "resentry_bridge_rejected_alerts",
            "The number of alerts that an Alertmanager called wrong.",
            ["alertmanager"],
            registry=self.registry,
        )
        self._failures = Gauge(
            "resentry_bridge_alertmanager_failures",
            "The number of failed posts since the last good one.",
            ["alertmanager"],
            registry=self.registry,
        )
        self._success = Gauge(
            "resentry_bridge_alertmanager_timestamp_seconds",
            "When an Alertmanager last took what was posted. The metric is missing "
            "before that.",
            ["alertmanager"],
            registry=self.registry,
        )
        self.duty = DutyMetrics(self.registry, alertmanagers)
        self._gaps = Counter(
            "resentry_bridge_gaps",
            "The number of beginnings and ends of issues that Sentry's API told, because "
            "no webhook did.",
            ["gap"],
            registry=self.registry,
        )
        for gap in GAPS:
            self._gaps.labels(gap)
        self._fill_failures = Gauge(
            "resentry_bridge_fill_failures",
            "How often in a row Sentry's API could not be asked for gaps.",
            registry=self.registry,
        )
        for name in alertmanagers:
            self._posted.labels(name)
            self._rejected.labels(name)
            self._failures.labels(name).set(0)

    def gap(self, what: str) -> None:
        """Count a gap that Sentry's API has filled."""
        self._gaps.labels(what).inc()

    def filled(self, failures: int) -> None:
        """Note how often in a row Sentry's API could not be asked; 0 if it was."""
        self._fill_failures.set(failures)

    def received(self, resource: str, result: str, seconds: float) -> None:
        """Count a request to the webhook's address."""
        named = resource if resource in RESOURCES else OTHER
        self._webhooks.labels(named, result).inc()
        self._seconds.observe(seconds)

    def posted(self, alertmanager: str, number: int) -> None:
        """Count alerts that an Alertmanager was sent."""
        self._posted.labels(alertmanager).inc(number)

    def rejected(self, alertmanager: str) -> None:
        """Count an alert that an Alertmanager called wrong."""
        self._rejected.labels(alertmanager).inc()

    def answered(self, alertmanager: str, failures: int) -> None:
        """Note how often in a row an Alertmanager could not be told; 0 if it was."""
        self._failures.labels(alertmanager).set(failures)
        if not failures:
            self._success.labels(alertmanager).set_to_current_time()

    def render(
        self,
        number: Mapping[str, int],
        webhooks: Iterable[Webhooks],
        waiting: int,
        why: str,
    ) -> bytes:
        """Return the text exposition; `why` says why the store fails."""
        with self._rendering:  # each listener has a thread
            for severity in SEVERITIES:
                self._open.labels(severity).set(number.get(severity, 0))
            for each in webhooks:
                self._newest.labels(each.resource).set(each.newest)
            self._waiting.set(waiting)
            self._failing.set(bool(why))
            return generate_latest(self.registry)
