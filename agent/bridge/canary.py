"""Sends a canary through Sentry, and opens an alert when it does not come back.

A webhook that never comes looks like a service without errors. So the bridge sends an event
of its own to Sentry, and a rule there makes a webhook of it. While canaries come back, an
alert of no severity is open, which Alertmanager tells to a service outside: that service
notices when the bridge or Alertmanager has ended.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING

import structlog

from agent.backoff import backoff_seconds
from agent.bridge import news, tables, trips
from agent.bridge.store import Full
from agent.bridge.trips import ALIVE, MISSING
from agent.dsn_check.send import post_envelope
from agent.errors import AgentError
from agent.parts import USER_AGENT
from resentry.formats import time_text

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from agent.bridge.duty_metrics import DutyMetrics
    from agent.bridge.store import Store
    from agent.bridge.trips import Trips

LOOK_SECONDS = 15.0
CAP_SECONDS = 300.0
SECONDS = 10.0

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


class Canary:
    """Sends canaries, and judges by those that have come back.

    Args:
        dsn: the DSN by which the canaries are sent.
        environment: the environment of the event, for the rule in Sentry.
        every: the seconds between two canaries.
        limit: a canary must be back within so many seconds.
        store: has the times and the alerts.
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
        self._told = ""
        """What the open alert says; empty if nobody knows."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End, within about this time."""
        self._over.set()
        self._thread.join(seconds)

    def known(self) -> Trips:
        """Return the times of the canaries."""
        return trips.trips_of(self._store.reader.facts())

    def is_missing(self, known: Trips) -> bool:
        """Whether the canary that should be back by now is not."""
        newest = max(known.since, known.arrived)
        return bool(newest) and time.time() - newest > self._every + self._limit

    def _run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            pause = min(LOOK_SECONDS, self._every / 4, self._limit / 4)
            try:
                self._look()
            except (
                AgentError,
                Full,
            ) as error:  # the store says why, and is asked again
                log.warning("the canary waits for the store", reason=str(error))
            except Exception:  # a bug must not end the thread
                log.exception("the canary's look has failed")

    def _look(self) -> None:
        now = time.time()
        if (
            now - self.known().sent >= self._every
            and time.monotonic() >= self._again_at
        ):
            self._send(now)
        known = self.known()
        missing = self.is_missing(known)
        self._metrics.canary(known, self._failures, missing=missing)
        if missing:
            self._tell_missing(known, now)
        elif known.arrived:
            self._tell_alive(now)

    def _send(self, now: float) -> None:
        body = event_of(self._environment, now)
        try:
            status, _ = post_envelope(USER_AGENT, self._dsn, body, SECONDS)
        except OSError as error:
            self.reason = str(error)
        else:
            self.reason = "" if status == 200 else f"HTTP status {status}"
        if not self.reason:
            self._failures = 0
            self._do(lambda connection: trips.sent(connection, now))
            return
        self._failures += 1
        self._again_at = time.monotonic() + backoff_seconds(
            self._failures, min(CAP_SECONDS, self._every)
        )
        self._do(lambda connection: trips.begun(connection, now))
        if self._failures == 1:
            log.warning(
                "Sentry does not accept the canary; trying again",
                reason=self.reason,
                hint="check RESENTRY_BRIDGE_CANARY_DSN_FILE, and whether the network lets "
                "the bridge reach Sentry",
            )

    def _tell_missing(self, known: Trips, now: float) -> None:
        last = time_text(known.arrived, "seconds") if known.arrived else "never"
        why = f"Sentry does not accept it: {self.reason}." if self.reason else ""
        alert = news.Alert(
            labels={
                "alertname": "ResentryCanaryMissing",
                "environment": self._environment,
                "severity": news.CRITICAL,
                "source": "resentry",
            },
            annotations={
                "summary": "Sentry's webhooks do not reach the bridge.",
                "description": f"The last canary came back: {last}. {why}".strip(),
                "runbook_url": "docs/runbook.md#rsn975",
            },
        )
        if not self._told.startswith(MISSING):
            log.error(
                "the canary has not come back: no alert of Sentry can be trusted to come",
                last=last,
                reason=self.reason or "its webhook did not come",
                hint="run: resentry-agent doctor --area bridge",
            )
        self._say(MISSING, alert, ALIVE, now)

    def _tell_alive(self, now: float) -> None:
        alert = news.Alert(
            labels={
                "alertname": "ResentryCanary",
                "environment": self._environment,
                "severity": "none",
                "source": "resentry",
            },
            annotations={"summary": "Sentry's webhooks reach the bridge."},
        )
        if self._told.startswith(MISSING):
            log.info("the canary has come back")
        self._say(ALIVE, alert, MISSING, now)

    def _say(self, opens: str, alert: news.Alert, closes: str, now: float) -> None:
        """Have this alert open, and the other one closed."""

        def say(connection: sqlite3.Connection) -> None:
            tables.close(connection, closes, now, now, "the canary")
            tables.open_alert(connection, opens, alert, now, now)

        text = f"{opens} {alert.annotations}"
        if text != self._told:
            self._do(say)
            self._told = text

    def _do(self, job: Callable[[sqlite3.Connection], object]) -> None:
        self._store.submit(job).result(SECONDS)
