"""The metrics of the published snapshot: which one, since when, and how fast it got there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import Gauge, Histogram

from agent.domain.wishes import running
from resentry.formats import moment

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from agent.domain.view import View
    from resentry.contract import Snapshot


class SnapshotMetrics:
    """What is published, what an operator holds, and how long a change takes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._began = time.time()
        self._created = 0.0
        self._sequence = Gauge(
            "resentry_current_sequence",
            "The sequence number of the published snapshot; 0 if nothing is published.",
            registry=registry,
        )
        self._info = Gauge(
            "resentry_snapshot_info",
            "1 for the published snapshot, with its revision and, for each path of the "
            "source, the version of the secret.",
            ["revision", "path", "version"],
            registry=registry,
        )
        self._published = Gauge(
            "resentry_published_timestamp_seconds",
            "When the snapshot was published; 0 if nothing is published.",
            registry=registry,
        )
        self._confirmed = Gauge(
            "resentry_confirmed_timestamp_seconds",
            "When all targets had last confirmed a snapshot that this agent published; 0 if "
            "they have confirmed none.",
            registry=registry,
        )
        self._boosts = Gauge(
            "resentry_boosts",
            "The number of boosts that have not ended.",
            registry=registry,
        )
        self._boosts_end = Gauge(
            "resentry_boosts_end_timestamp_seconds",
            "When the last of the running boosts ends; 0 without a boost.",
            registry=registry,
        )
        self._held = Gauge(
            "resentry_rollback_held",
            "1 while a rollback is published instead of what the source holds, else 0.",
            registry=registry,
        )
        self._confirm_seconds = Histogram(
            "resentry_confirm_seconds",
            "The time from publishing a snapshot to the receipt of the last target.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30),
            registry=registry,
        )
        self._propagation = Histogram(
            "resentry_propagation_seconds",
            "The time from writing a version of a secret in Vault to the receipt of the last "
            "target. Versions from before the agent's start do not count.",
            buckets=(1, 5, 15, 30, 60, 90, 120, 300, 900),
            registry=registry,
        )

    def show(self, view: View) -> None:
        """Show what is published now."""
        current = view.known.current
        self._sequence.set(current.sequence if current else 0)
        self._published.set(_moment(current.published_at) if current else 0)
        self._held.set(view.known.wishes.held is not None)
        boosts = running(current.boosts if current else (), time.time())
        self._boosts.set(len(boosts))
        ends = [_moment(boost.until) for boost in boosts]
        self._boosts_end.set(max(ends, default=0.0))
        self._show_info(current)

    def confirmed(self, current: Snapshot | None, seconds: float) -> None:
        """Count the snapshot, which every target has confirmed now."""
        self._confirm_seconds.observe(seconds)
        now = time.time()
        self._confirmed.set(now)
        created = _created(current)
        if created > max(self._began, self._created):
            self._propagation.observe(max(now - created, 0.0))
        self._created = max(self._created, created)

    def _show_info(self, current: Snapshot | None) -> None:
        self._info.clear()
        if current is None:
            return
        origins = {
            (str(origin.get("path", "")), str(origin.get("version", "")))
            for origin in current.provenance.values()
        }
        for path, version in sorted(origins) or [("", "")]:
            self._info.labels(current.revision, path, version).set(1)


def _created(current: Snapshot | None) -> float:
    """Return when the newest of the secrets was written; 0 if that is not known."""
    origins = current.provenance.values() if current else ()
    times = [_moment(origin.get("created_time")) for origin in origins]
    return max(times, default=0.0)


def _moment(text: object) -> float:
    try:
        return moment(text)
    except ValueError:
        return 0.0
