"""Says once what has changed in probes and deliveries: a log line, and the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from agent.observe.status import GOOD, at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.domain.outcome import Outcome
    from agent.domain.probe import Found
    from agent.domain.receiver import Delivery
    from agent.observe.metrics import Metrics

log = structlog.get_logger()


class Changes:
    """Compares what is reported with what was reported before."""

    def __init__(self) -> None:
        self._probes: Sequence[Found] = ()
        self._deliveries: Sequence[Delivery] = ()

    def look(
        self,
        probes: Sequence[Found],
        deliveries: Sequence[Delivery],
        metrics: Metrics | None,
    ) -> bool:
        """Tell what is new, and return whether anything is."""
        if (tuple(probes), tuple(deliveries)) == (self._probes, self._deliveries):
            return False
        before = {one.fingerprint: (one.verdict, one.settled) for one in self._probes}
        for found in probes:
            if before.get(found.fingerprint) != (found.verdict, found.settled):
                _tell_probe(found)
        told = {one.receiver: _state(one) for one in self._deliveries}
        for delivery in deliveries:
            if told.get(delivery.receiver, (None, False)) != _state(delivery):
                _tell_delivery(delivery)
        self._probes, self._deliveries = tuple(probes), tuple(deliveries)
        if metrics is not None:
            metrics.probed(probes)
            metrics.notified(deliveries)
        return True


def _state(delivery: Delivery) -> tuple[str | None, bool]:
    """What makes a line in the log: the error's text may change with every try."""
    return delivery.revision, delivery.error is not None


def _tell_probe(found: Found) -> None:
    is_bad = found.verdict in ("rejected", "config_error", "limited") or (
        found.verdict in ("unknown", "rejected_once") and found.settled
    )
    level = "warning" if is_bad else "info"
    getattr(log, level)(found.sentence, verdict=found.verdict, settled=found.settled)


def _tell_delivery(delivery: Delivery) -> None:
    name, error = delivery.receiver, delivery.error
    if error is None:
        sentence = f"told {name} of revision {delivery.revision}"
        log.info(sentence, sequence=delivery.sequence)
    else:
        sentence = f"cannot tell {name}: {error}"
        log.warning(sentence)


def tell_pass(outcome: Outcome, seconds: float, outage: str, *, news: bool) -> None:
    """Log one pass: aloud when it is news, once per change and not once per try."""
    level = "debug" if not news else "info" if outcome.kind in GOOD else "error"
    details: dict[str, Any] = {"seconds": round(seconds, 3)}
    for name in ("error", "revision", "sequence", "hint", "notes"):
        if value := getattr(outcome, name):
            details[name] = value
    told = f"{outcome.sentence}; {outage}" if outage else outcome.sentence
    getattr(log, level)(told, outcome=outcome.kind, **details)


def probe_part(probes: Sequence[Found]) -> list[dict[str, Any]]:
    """The probes, as every document shows them."""
    return [
        {
            "dsn": found.dsn,
            "verdict": found.verdict,
            "settled": found.settled,
            "since": at(found.since),
            "probes": found.probes,
            "sentence": found.sentence,
        }
        for found in probes
    ]


def notify_part(deliveries: Sequence[Delivery]) -> list[dict[str, Any]]:
    """The receivers, as every document shows them."""
    return [
        {
            "receiver": one.receiver,
            "revision": one.revision,
            "sequence": one.sequence,
            "failures": one.failures,
            "error": one.error,
            "since": at(one.since),
        }
        for one in deliveries
    ]
