"""All metrics of the agent. docs/metrics.md is generated from this module."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, get_args

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

from agent.domain.dsn_check import Verdict
from agent.domain.outcome import Kind
from agent.observe.stderr import lines
from agent.observe.target_metrics import TargetMetrics
from resentry.formats import moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.domain.dsn_check import DsnReport
    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.view import View
    from resentry.contract import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Info("resentry_agent", "The agent's version.", registry=self.registry)
        build.info({"version": version})
        self._passes = Counter(
            "resentry_passes",
            "The number of passes, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        for kind in get_args(Kind):
            self._passes.labels(kind)
        self._pass_seconds = Histogram(
            "resentry_pass_seconds",
            "The duration of passes.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15),
            registry=self.registry,
        )
        self._success = Gauge(
            "resentry_last_success_timestamp_seconds",
            "When a pass last read a good candidate from the source.",
            registry=self.registry,
        )
        self._failing = Gauge(
            "resentry_consecutive_failures",
            "The number of passes since the last good one; all of them failed or refused.",
            registry=self.registry,
        )
        self._since = Gauge(
            "resentry_failing_since_timestamp_seconds",
            "When the error of the newest pass came first in this outage. The metric is "
            "missing while passes are good.",
            ["error"],
            registry=self.registry,
        )
        self._unverified = Gauge(
            "resentry_vault_tls_unverified",
            "1 if Vault's certificate is not checked "
            "(`RESENTRY_VAULT_INSECURE_SKIP_TLS_VERIFY`), else 0.",
            registry=self.registry,
        )
        self._unencrypted = Gauge(
            "resentry_vault_unencrypted",
            "1 if Vault is asked over http at another host, where the network can read the "
            "token and the secret, else 0.",
            registry=self.registry,
        )
        self._stale_reads = Gauge(
            "resentry_vault_stale_reads",
            "The number of reads since the agent started that gave an older version of a "
            "secret than before. Such a read changes nothing.",
            registry=self.registry,
        )
        self._stale_since = Gauge(
            "resentry_vault_stale_since_timestamp_seconds",
            "When the stale reads began that go on now; 0 if none go on.",
            registry=self.registry,
        )
        self._vault_calls = Gauge(
            "resentry_vault_token_calls",
            "The number of logins and renewals that Vault granted since the agent started.",
            ["call"],
            registry=self.registry,
        )
        self._sequence = Gauge(
            "resentry_current_sequence",
            "The sequence number of the published snapshot; 0 if nothing is published.",
            registry=self.registry,
        )
        self._repairs = Counter(
            "resentry_volume_repairs",
            "How often the agent repaired what others had removed or changed on the volume.",
            registry=self.registry,
        )
        self._snapshot = Gauge(
            "resentry_snapshot_info",
            "1 for the published snapshot, with its revision and, for each path of the "
            "source, the version of the secret.",
            ["revision", "path", "version"],
            registry=self.registry,
        )
        self._problems = Gauge(
            "resentry_problem",
            "1 while the agent cannot do what this setting asks for. The metric is missing "
            "otherwise.",
            ["setting"],
            registry=self.registry,
        )
        self._targets = TargetMetrics(self.registry)
        self._confirm_seconds = Histogram(
            "resentry_confirm_seconds",
            "The time from publishing a snapshot to the receipt of the last target.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30),
            registry=self.registry,
        )

        self._dsn_check_verdict = Gauge(
            "resentry_dsn_check_verdict",
            "The number of DSNs that were checked with their server, by verdict.",
            ["verdict"],
            registry=self.registry,
        )
        self._show_dsn_checks([])
        self._notify_failures = Gauge(
            "resentry_notify_failures",
            "The number of failed POSTs since the last successful one, by receiver.",
            ["receiver"],
            registry=self.registry,
        )
        self._notify_sequence = Gauge(
            "resentry_notify_sequence",
            "The sequence number of the snapshot that a receiver was last notified of.",
            ["receiver"],
            registry=self.registry,
        )

        self._requests = Counter(
            "resentry_requests",
            "The number of operators' requests, by their outcome; `denied` if the agent "
            "refused the request. `boost_end` counts boosts that ended by themselves.",
            ["request", "outcome"],
            registry=self.registry,
        )
        self._lost = Counter(
            "resentry_log_lines_lost",
            "The number of log lines that were lost, because standard error was not read "
            "or not writable, or because lines of one kind came too often.",
            registry=self.registry,
        )
        self._lost_before = 0
        self._rendering = threading.Lock()

    def passed(self, passes: Passes) -> None:
        """Count the newest pass."""
        outcome = passes.outcome
        if outcome is None:
            return
        self._passes.labels(outcome.kind).inc()
        self._pass_seconds.observe(passes.seconds)
        self._failing.set(passes.failures)
        self._since.clear()
        if passes.failures and outcome.error:
            self._since.labels(outcome.error).set(passes.since or 0.0)
        if passes.last_success is not None:
            self._success.set(passes.last_success)

    def repaired(self, number: int) -> None:
        """Count repairs of the volume."""
        self._repairs.inc(number)

    def show(self, view: View) -> None:
        """Show what is known now."""
        current = view.known.current
        self._sequence.set(current.sequence if current else 0)
        self._show_snapshot(current)
        self._problems.clear()
        for problem in view.problems:
            self._problems.labels(problem.setting).set(1)
        self._show_source(view.source)
        with self._rendering:  # nobody sees half of the targets
            self._targets.show(view.rollout)
        self._show_dsn_checks(view.dsn_checks)
        self._show_deliveries(view.deliveries)

    def asked(self, request: str, outcome: str) -> None:
        """Count an operator's request that was answered."""
        self._requests.labels(request, outcome).inc()

    def confirmed(self, seconds: float) -> None:
        """Count one snapshot that every target has confirmed."""
        self._confirm_seconds.observe(seconds)

    def _show_snapshot(self, current: Snapshot | None) -> None:
        self._snapshot.clear()
        if current is None:
            return
        origins = {
            (str(origin.get("path", "")), str(origin.get("version", "")))
            for origin in current.provenance.values()
        }
        for path, version in sorted(origins) or [("", "")]:
            self._snapshot.labels(current.revision, path, version).set(1)

    def _show_source(self, report: Mapping[str, Any]) -> None:
        self._unverified.set(report.get("tls_verified") is False)
        self._unencrypted.set(report.get("encrypted") is False)
        self._stale_reads.set(report.get("stale_reads", 0))
        since = report.get("stale_since")
        self._stale_since.set(moment(since) if since else 0)
        for call in ("logins", "renewals"):
            if call in report:
                self._vault_calls.labels(call).set(report[call])

    def _show_dsn_checks(self, reports: Sequence[DsnReport]) -> None:
        for verdict in get_args(Verdict):
            count = sum(report.verdict == verdict for report in reports)
            self._dsn_check_verdict.labels(verdict).set(count)

    def _show_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._notify_failures.labels(delivery.receiver).set(delivery.failures)
            self._notify_sequence.labels(delivery.receiver).set(delivery.sequence)

    def render(self) -> bytes:
        """Return the text exposition."""
        with self._rendering:  # each listener has a thread
            lost = lines().lost
            self._lost.inc(lost - self._lost_before)
            self._lost_before = lost
            return generate_latest(self.registry)
