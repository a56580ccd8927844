"""The metrics of DSNs. Labels are the fingerprints of published DSNs, and `other`."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client import Counter as CounterMetric
from prometheus_client import Gauge

from agent.domain.answers import OTHER, kind_of, published_dsns, uses
from agent.observe.growth import Growth
from resentry.answers import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import CollectorRegistry

    from agent.domain.view import View
    from resentry.answers import Answer


class DsnMetrics:
    """What servers answer: to the agent's checks, and to the processes' envelopes."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._checks = Gauge(
            "resentry_dsn_check_verdict",
            "The number of DSNs that were checked with their server, by verdict.",
            ["dsn", "verdict"],
            registry=registry,
        )
        self._answers = Gauge(
            "resentry_dsn_answers",
            "The number of live targets, by DSN and by what the DSN's server answered them "
            "last.",
            ["dsn", "kind"],
            registry=registry,
        )
        self._envelopes = CounterMetric(
            "resentry_dsn_envelopes",
            "The number of envelopes that targets sent since the agent started, by DSN and by "
            "what the DSN's server answered. Counts of targets are at most 30 s old.",
            ["dsn", "kind"],
            registry=registry,
        )
        self._accepted = Gauge(
            "resentry_dsn_accepted_timestamp_seconds",
            "When a DSN's server last accepted an envelope of any target. The metric is "
            "missing while no live target had one accepted.",
            ["dsn"],
            registry=registry,
        )
        self._growth: Growth[tuple[str, str]] = Growth()
        self._published: set[str] = set()

    def show(self, view: View) -> None:
        """Show the DSNs of now, and what their servers answer."""
        self._name(view)
        self._checks.clear()
        verdicts = Counter(
            (self._label(report.fingerprint), report.verdict)
            for report in view.dsn_checks
        )
        for (dsn, verdict), number in verdicts.items():
            self._checks.labels(dsn, verdict).set(number)
        answers = [
            answer
            for target, _ in view.rollout.targets
            for answer in target.receipt.answers
        ]
        self._show_answers(answers)
        self._accepted.clear()
        for use in uses(view.known.current, view.rollout, time.time()):
            if use.accepted_at is not None:
                self._accepted.labels(use.fingerprint).set(use.accepted_at)
        if not view.rollout.unknown:  # else processes may be missing, and come back
            self._count(view)

    def _name(self, view: View) -> None:
        """Give each published DSN a label, and take it from those that were published."""
        published = {*published_dsns(view.known.current)}
        for dsn in self._published - published:
            for kind in KINDS:
                self._envelopes.remove(dsn, kind)
        for dsn in published - self._published:
            for kind in KINDS:
                self._envelopes.labels(dsn, kind)
        if published != self._published:  # a process's counts get other labels
            self._growth.restart()
        self._published = published

    def _label(self, fingerprint: str) -> str:
        return fingerprint if fingerprint in self._published else OTHER

    def _show_answers(self, answers: list[Answer]) -> None:
        counts = Counter(
            (self._label(answer.dsn), kind_of(answer)) for answer in answers
        )
        self._answers.clear()
        for dsn in self._published:
            for kind in (*KINDS, OTHER):
                self._answers.labels(dsn, kind).set(counts.pop((dsn, kind), 0))
        for (dsn, kind), number in counts.items():
            self._answers.labels(dsn, kind).set(number)

    def _count(self, view: View) -> None:
        targets = [target for target, _ in view.rollout.targets]
        counts = {
            target.receipt.id: self._sent(target.receipt.answers)
            for target in targets
            if target.readable
        }
        present = {target.receipt.id for target in targets}
        for (dsn, kind), number in self._growth.since(counts, present).items():
            self._envelopes.labels(dsn, kind).inc(number)

    def _sent(self, answers: Iterable[Answer]) -> Counter[tuple[str, str]]:
        """Return how many envelopes one process has sent, by label and kind."""
        sent: Counter[tuple[str, str]] = Counter()
        for answer in answers:
            for kind in KINDS:
                sent[self._label(answer.dsn), kind] += getattr(answer, kind)
        return sent
