"""All metrics of the agent. docs/metrics.md is generated from this module."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING, get_args

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

from agent._version import commit
from agent.domain.outcome import Kind
from agent.observe.dsn_metrics import DsnMetrics
from agent.observe.snapshot_metrics import SnapshotMetrics
from agent.observe.source_metrics import SourceMetrics
from agent.observe.stderr import lines
from agent.observe.target_metrics import TargetMetrics
from agent.observe.tuning_metrics import TuningMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.domain.passes import Passes
    from agent.domain.receiver import Delivery
    from agent.domain.view import View


class Metrics:
    """The agent's metrics, in a registry of their own."""

    def __init__(self, version: str, poll_seconds: float = 60.0) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        build = Info(
            "resentry_agent",
            "The version of the agent, the commit it was built from, and the version of the "
            "Python that runs it.",
            registry=self.registry,
        )
        python = ".".join(map(str, sys.version_info[:3]))
        build.info({"version": version, "commit": commit(), "python": python})
        self._started = Gauge(
            "resentry_started_timestamp_seconds",
            "When the agent started to serve its metrics.",
            registry=self.registry,
        )
        self._started.set_to_current_time()
        self._poll = Gauge(
            "resentry_poll_seconds",
            "The time between two passes, as set (`RESENTRY_POLL_SECONDS`).",
            registry=self.registry,
        )
        self._poll.set(poll_seconds)
        self._passes = Counter(
            "resentry_passes",
            "The number of passes, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self._passes_of = {kind: self._passes.labels(kind) for kind in get_args(Kind)}
        self._pass_seconds = Histogram(
            "resentry_pass_seconds",
            "The duration of passes.",
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15),
            registry=self.registry,
        )
        self._errors = Counter(
            "resentry_pass_errors",
            "The number of passes that failed or refused a candidate, by error. The errors "
            "are those of docs/commands.md.",
            ["error"],
            registry=self.registry,
        )
        self._ended = Gauge(
            "resentry_pass_timestamp_seconds",
            "When the newest pass ended, well or not; 0 before the first one.",
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
        self._refused = Gauge(
            "resentry_candidate_refused",
            "1 for each key for which the newest candidate is refused. The metric is "
            "missing while no candidate is refused.",
            ["setting"],
            registry=self.registry,
        )
        self._source = SourceMetrics(self.registry)
        self._snapshot = SnapshotMetrics(self.registry)
        self._repairs = Counter(
            "resentry_volume_repairs",
            "How often the agent repaired what others had removed or changed on the volume.",
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
        self._dsns = DsnMetrics(self.registry)
        self._tuning = TuningMetrics(self.registry)
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
        self._notify_success = Gauge(
            "resentry_notify_success_timestamp_seconds",
            "When a receiver was last notified. The metric is missing while its "
            "notifications fail.",
            ["receiver"],
            registry=self.registry,
        )
        self._requests = Counter(
            "resentry_requests",
            "The number of operators' requests, by their outcome; `denied` if the agent "
            "refused the request, `changed` for a new log level. `boost_end` counts boosts "
            "that ended by themselves, `tuning_file` changes of the tuning file.",
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
        self._view: View | None = None
        self._rendering = threading.Lock()

    def passed(self, passes: Passes) -> None:
        """Count the newest pass."""
        outcome = passes.outcome
        if outcome is None:
            return
        self._passes_of[outcome.kind].inc()
        self._pass_seconds.observe(passes.seconds)
        if passes.failures and outcome.error:
            self._errors.labels(outcome.error).inc()

    def _show_passes(self, passes: Passes) -> None:
        outcome = passes.outcome
        if outcome is None:
            return
        self._ended.set(time.time() - (time.monotonic() - passes.ended_at))
        self._failing.set(passes.failures)
        self._refused.clear()
        for key in outcome.refused:
            self._refused.labels(key).set(1)
        self._since.clear()
        if passes.failures and outcome.error:
            self._since.labels(outcome.error).set(passes.since or 0.0)
        if passes.last_success is not None:
            self._success.set(passes.last_success)

    def repaired(self, number: int) -> None:
        """Count repairs of the volume."""
        self._repairs.inc(number)

    def show(self, view: View) -> None:
        """Take in what is known now.

        What receipts count is added up at once: a process may be gone at the next scrape.
        The rest is shown when somebody asks for it.
        """
        with self._rendering:
            before, self._view = self._view, view
            if (
                before is None
                or view.rollout is not before.rollout
                or view.known.current is not before.known.current
            ):
                self._show(view)

    def _show(self, view: View) -> None:
        self._show_passes(view.passes)
        self._problems.clear()
        for problem in view.problems:
            self._problems.labels(problem.setting).set(1)
        self._snapshot.show(view)
        self._source.show(view.source)
        self._targets.show(view.rollout)
        self._dsns.show(view)
        self._tuning.show(view)
        self._show_deliveries(view.deliveries)

    def asked(self, request: str, outcome: str) -> None:
        """Count an operator's request that was answered."""
        self._requests.labels(request, outcome).inc()

    def confirmed(self, view: View, seconds: float) -> None:
        """Count the published snapshot, which every target has confirmed."""
        self._snapshot.confirmed(view.known.current, seconds)

    def _show_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._notify_success.clear()
        for delivery in deliveries:
            if delivery.error is None and delivery.since is not None:
                self._notify_success.labels(delivery.receiver).set(delivery.since)
            self._notify_failures.labels(delivery.receiver).set(delivery.failures)
            self._notify_sequence.labels(delivery.receiver).set(delivery.sequence)

    def render(self) -> bytes:
        """Return the text exposition."""
        with self._rendering:  # each listener has a thread; nobody sees half of it
            if self._view is not None:
                with contextlib.suppress(Exception):  # logged when it was taken in
                    self._show(self._view)
            lost = lines().lost
            self._lost.inc(lost - self._lost_before)
            self._lost_before = lost
            return generate_latest(self.registry)
