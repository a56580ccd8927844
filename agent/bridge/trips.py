"""What the store knows of canaries: since when, when the last one was sent and came back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from agent.bridge.tables import Result

ALIVE, MISSING = "canary:alive", "canary:missing"
"""The subjects of the two alerts that the bridge opens by itself. Neither is stored."""
FUTURE_SECONDS = 60.0
"""A time that is later than this from now was taken from a wrong clock: it is no time."""


class Trips(NamedTuple):
    """Times of ours; 0 for what has not happened."""

    since: float = 0.0
    """When the first canary was sent."""
    sent: float = 0.0
    arrived: float = 0.0
    seconds: float = 0.0
    """How long the newest one that came back took."""

    def until(self, now: float) -> Trips:
        """Return these without what lies in the future: it has not happened."""
        return self._replace(
            since=_until(self.since, now),
            sent=_until(self.sent, now),
            arrived=_until(self.arrived, now),
        )


def trips_of(facts: Mapping[str, str], now: float = math.inf) -> Trips:
    """Return what the facts of a store say of the time until now."""
    named = (facts.get(f"canary_{name}", "0") for name in Trips._fields)
    return Trips(*map(float, named)).until(now)


def begun(connection: sqlite3.Connection, now: float) -> None:
    """Note when the first canary was sent, or should have been. A restart changes nothing."""
    if not _until(_fact(connection, "canary_since"), now):
        _note(connection, "canary_since", now)


def sent(connection: sqlite3.Connection, now: float) -> None:
    """Note that Sentry has accepted a canary."""
    begun(connection, now)
    _note(connection, "canary_sent", now)


def arrived(connection: sqlite3.Connection, sent_at: float, now: float) -> Result:
    """Note that a canary has come back. One that is older than the newest is ignored."""
    newest = _until(_fact(connection, "canary_back"), now)
    if sent_at <= newest or sent_at > now + FUTURE_SECONDS:
        return "ignored"
    _note(connection, "canary_back", sent_at)
    _note(connection, "canary_arrived", now)
    _note(connection, "canary_seconds", max(0.0, now - sent_at))
    return "canary"


def _until(time: float, now: float) -> float:
    return 0.0 if time > now + FUTURE_SECONDS else time


def _fact(connection: sqlite3.Connection, name: str) -> float:
    found = connection.execute("SELECT value FROM facts WHERE name = ?", (name,))
    row = found.fetchone()
    return float(row[0]) if row else 0.0


def _note(connection: sqlite3.Connection, name: str, value: float) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, f"{value:.3f}")
    )
