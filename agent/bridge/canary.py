"""Sends a canary through Sentry, and opens an alert when it does not come back.

A webhook that never comes looks like a service without errors. So the bridge sends an event
of its own to Sentry, and a rule there makes a webhook of it. While canaries come back, an
alert of no severity is open, which Alertmanager tells to a service outside: that service
notices when the bridge or Alertmanager has ended.

Both alerts live in memory. An alert in the store could neither open nor end while the store
cannot be written, and that is one of the reasons why webhooks do not come.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from typing import TYPE_CHECKING

import structlog

from agent.backoff import backoff_seconds
from agent.bridge import news, trips
from agent.bridge.reading import Row
from agent.bridge.rounds import Rounds
from agent.bridge.store import Full
from agent.bridge.trips import ALIVE, MISSING, Trips
from agent.dsn_check.send import post_envelope
from agent.parts import USER_AGENT
from resentry.formats import time_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.bridge.duty_metrics import DutyMetrics
    from agent.bridge.store import Store

LOOK_SECONDS = 15.0
CAP_SECONDS = 300.0
SECONDS = 10.0
CLOSED_SECONDS = 900.0
"""The end of an alert is told for so long."""

log = structlog.get_logger()


def event_of(environment: str, now: float) -> bytes:
    """Return a canary as an envelope.

    Each one is an issue of its own: Sentry has rules for what is new, and none for an event
    of an issue that is known.
    """
    event_id = uuid.uuid4().hex
    event = {
        "event_id": event_id,
        "timestamp": time_text(now),
        "platform": "python",
        "level": "info",
        "logger": "resentry.bridge",
        "logentry": {"formatted": "resentry canary"},
        "fingerprint": ["resentry-canary", event_id],
        "environment": environment,
        "tags": {"resentry": "canary", news.CANARY_TAG: f"{now:.3f}"},
    }
    body = json.dumps(event)
    header = {"event_id": event_id, "sent_at": time_text(now)}
    item = {"type": "event", "length": len(body)}
    return "\n".join((json.dumps(header), json.dumps(item), body, "")).encode()


class Canary(Rounds):
    """Sends canaries, and judges by those that have come back.

    Args:
        dsn: the DSN by which the canaries are sent.
        environment: the environment of the event, for the rule in Sentry.
        every: the seconds between two canaries.
        limit: a canary must be back within so many seconds.
        store: keeps the times over a restart.
        metrics: tell the times.

    """

    def __init__(
        self,
        dsn: str,
        environment: str,
        *,
        every: float,
        limit: float,
        store: Store,
        metrics: DutyMetrics,
    ) -> None:
        super().__init__("canary", min(LOOK_SECONDS, every / 4, limit / 4))
        self._dsn = dsn
        self._environment = environment
        self._every = every
        self._limit = limit
        self._store = store
        self._metrics = metrics
        self.reason = ""
        """Why Sentry did not accept the newest canary; empty if it did."""
        self._failures = 0
        self._again_at = 0.0
        self._own = Trips()
        """What this process has done, also if the store could not be written."""
        self._stored = Trips()
        """What the store said when it could last be read."""
        self._subject = ""
        """Which alert was open at the newest look."""
        self._turned = 0.0
        """When that alert opened."""
        self._is_ahead = False

    def known(self) -> Trips:
        """Return the times of the canaries, as of the newest look."""
        stored, own = self._stored, self._own
        return stored._replace(
            since=stored.since or own.since, sent=max(stored.sent, own.sent)
        )

    def is_missing(self) -> bool:
        """Whether the canary that should be back by now is not."""
        known = self.known()
        newest = max(known.since, known.arrived)
        return bool(newest) and time.time() - newest > self._every + self._limit

    def rows(self) -> list[Row]:
        """Return the alert that is open now, and the one that has ended not long ago."""
        now, subject = time.time(), self._judge()
        if not subject:
            return []
        annotations = ANNOTATIONS[subject]
        if subject == MISSING:
            annotations = {**annotations, "description": self._description()}
        if subject != self._subject:  # the next look notes it
            return [_row(subject, self._environment, annotations, now, None)]
        opened = self._turned
        rows = [_row(subject, self._environment, annotations, opened, None)]
        if now - opened < CLOSED_SECONDS:
            other = MISSING if subject == ALIVE else ALIVE
            rows.append(closed_row(other, self._environment, opened))
        return rows

    def _judge(self) -> str:
        """Return which alert has to be open: none while nobody can know.

        A bridge that cannot write its store refuses every webhook, so it is not alive.
        """
        if self.is_missing():
            return MISSING
        return ALIVE if self.known().arrived and not self._store.reason else ""

    def _round(self) -> float:
        now = time.time()
        self._read(now)
        if (
            now - self.known().sent >= self._every
            and time.monotonic() >= self._again_at
        ):
            self._send(now)
            self._read(now)
        self._metrics.canary(self.known(), self._failures, missing=self.is_missing())
        subject = self._judge()
        if subject != self._subject:
            self._tell(subject)
            self._subject, self._turned = subject, now
            self._store.changed()  # post it soon
        return self._seconds

    def _read(self, now: float) -> None:
        try:
            facts = self._store.reader.facts()
        except sqlite3.Error as error:
            log.warning("the canary's times cannot be read", reason=str(error))
            return
        self._stored = trips.trips_of(facts, now)
        self._own = self._own.until(now)
        is_ahead = self._stored != trips.trips_of(facts)
        if is_ahead and not self._is_ahead:
            log.warning(
                "the store has a time of the canary that is in the future: this time is "
                "ignored",
                hint="the clock was ahead once, or is behind now: check the clock",
            )
        self._is_ahead = is_ahead

    def _send(self, now: float) -> None:
        body = event_of(self._environment, now)
        try:
            status, _ = post_envelope(USER_AGENT, self._dsn, body, SECONDS)
        except OSError as error:
            self.reason = str(error)
        else:
            self.reason = "" if status == 200 else f"HTTP status {status}"
        self._own = self._own._replace(since=self._own.since or now)
        if not self.reason:
            self._failures = 0
            self._own = self._own._replace(sent=now)
            self._note(lambda connection: trips.sent(connection, now))
            return
        self._failures += 1
        self._again_at = time.monotonic() + backoff_seconds(
            self._failures, min(CAP_SECONDS, self._every)
        )
        self._note(lambda connection: trips.begun(connection, now))
        if self._failures == 1:
            log.warning(
                "Sentry does not accept the canary; trying again",
                reason=self.reason,
                hint="check RESENTRY_BRIDGE_CANARY_DSN_FILE, and whether the network lets "
                "the bridge reach Sentry",
            )

    def _note(self, job: Callable[[sqlite3.Connection], object]) -> None:
        """Have this written. The store says why, if it cannot."""
        try:
            self._store.submit(job)
        except Full:
            log.warning("a time of the canary is not stored: the store is busy")

    def _tell(self, subject: str) -> None:
        if subject == MISSING:
            log.error(
                "the canary has not come back: no alert of Sentry can be trusted to come",
                last=self._last(),
                reason=self.reason or "its webhook did not come",
                hint="run: resentry-agent doctor --area bridge",
            )
        elif subject == ALIVE and self._subject:
            log.info("the canary has come back")

    def _last(self) -> str:
        arrived = self.known().arrived
        return time_text(arrived, "seconds") if arrived else "never"

    def _description(self) -> str:
        why = f" Sentry does not accept it: {self.reason}." if self.reason else ""
        return f"The last canary came back: {self._last()}.{why}"


ANNOTATIONS = {
    ALIVE: {"summary": "Sentry's webhooks reach the bridge."},
    MISSING: {
        "summary": "Sentry's webhooks do not reach the bridge.",
        "runbook_url": "docs/runbook.md#rsn975",
    },
}
_LABELS = {
    ALIVE: {"alertname": "ResentryCanary", "severity": "none"},
    MISSING: {"alertname": "ResentryCanaryMissing", "severity": news.CRITICAL},
}


def closed_row(subject: str, environment: str, at: float) -> Row:
    """Return the end of one of the two alerts."""
    return _row(subject, environment, ANNOTATIONS[subject], at, at)


def _row(
    subject: str,
    environment: str,
    annotations: dict[str, str],
    opened: float,
    closed: float | None,
) -> Row:
    labels = {**_LABELS[subject], "environment": environment, "source": "resentry"}
    alert = news.Alert(labels, annotations)
    return Row(subject, alert, 0, opened, opened, opened, closed, "", 0)
