"""The tables of the bridge, and what a piece of news changes in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from agent.bridge import trips
from agent.errors import AgentError

if TYPE_CHECKING:
    import sqlite3

    from agent.bridge.news import Alert, News

VERSION = 1
KEPT_SECONDS = 86_400.0
"""What is closed or was seen is remembered for so long."""
SEEN_LIMIT = 200_000
"""So many Request-IDs are remembered at most."""
SCHEMA = """
CREATE TABLE IF NOT EXISTS alerts (
  key TEXT PRIMARY KEY,        -- the labels: the identity
  subject TEXT NOT NULL,       -- what it is about: issue:ID, metric:ID
  labels TEXT NOT NULL,        -- JSON
  annotations TEXT NOT NULL,   -- JSON
  url TEXT NOT NULL,
  webhooks INTEGER NOT NULL,   -- so many opened it, or said it again
  opened REAL NOT NULL,        -- our time
  renewed REAL NOT NULL,       -- our time of the newest webhook, or answer of the API
  told REAL NOT NULL,          -- Sentry's time of the newest webhook
  closed REAL,                 -- our time; null while it is open
  why TEXT NOT NULL,           -- why it was closed
  changed INTEGER NOT NULL     -- rises with each opening and closing
);
CREATE INDEX IF NOT EXISTS of_subject ON alerts (subject);
CREATE INDEX IF NOT EXISTS of_change ON alerts (changed);
CREATE TABLE IF NOT EXISTS over (
  subject TEXT PRIMARY KEY, told REAL NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS seen (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS webhooks (
  resource TEXT PRIMARY KEY, newest REAL NOT NULL, number INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS alertmanagers (
  url TEXT PRIMARY KEY,
  posted INTEGER NOT NULL,     -- it knows every change up to this one
  success REAL, failure REAL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""

Result = Literal[
    "opened", "renewed", "closed", "older", "duplicate", "ignored", "canary"
]
"""What became of a webhook."""


class StoreError(AgentError):
    """The bridge's store cannot be used."""

    exit_code = 74


class Webhook(NamedTuple):
    """A webhook whose signature is right."""

    request_id: str
    resource: str
    told: float
    """Sentry's time."""
    news: News | None
    digest: str = ""
    """Of a body that never comes twice: one of an event."""


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables. Raises `StoreError` for those of a newer bridge."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise StoreError(
            f"the store was written by a newer bridge (form {version}, not {VERSION})",
            "use the newer version of resentry-agent, or set RESENTRY_BRIDGE_STORE to "
            "another file",
        )
    connection.executescript(SCHEMA)
    connection.execute(f"PRAGMA user_version = {VERSION}")


def take(connection: sqlite3.Connection, webhook: Webhook, now: float) -> Result:
    """Write down a webhook once, and what it changes."""
    for each in filter(None, (webhook.request_id, webhook.digest)):
        added = connection.execute(
            "INSERT OR IGNORE INTO seen (id, at) VALUES (?, ?)", (each, now)
        )
        if not added.rowcount:
            return "duplicate"
    connection.execute(
        "INSERT INTO webhooks VALUES (?, ?, 1) ON CONFLICT (resource) DO UPDATE "
        "SET newest = max(newest, excluded.newest), number = number + 1",
        (webhook.resource, now),
    )
    news = webhook.news
    if news is None:
        return "ignored"
    if news.canary:
        return trips.arrived(connection, news.canary, now)
    if news.opens is None:
        return close(connection, news.subject, webhook.told, now, "resolved in Sentry")
    key, told = news.opens.key, webhook.told
    if news.is_only and _has_newer(connection, news.subject, key, told):
        return "older"
    result = open_alert(connection, news.subject, news.opens, told, now)
    if news.is_only and result != "older":
        close_others(connection, news.subject, key, told, now)
    return result


def open_alert(
    connection: sqlite3.Connection,
    subject: str,
    alert: Alert,
    told: float,
    now: float,
    webhooks: int = 1,
) -> Result:
    """Open an alert, or note that it is still open. What came before its end is older."""
    over = connection.execute(
        "SELECT told FROM over WHERE subject = ?", (subject,)
    ).fetchone()
    if over is not None and told < over[0]:
        return "older"
    is_open = connection.execute(
        "SELECT 1 FROM alerts WHERE key = ? AND closed IS NULL", (alert.key,)
    ).fetchone()
    labels, annotations = map(_json, (alert.labels, alert.annotations))
    if is_open:
        connection.execute(
            "UPDATE alerts SET annotations = ?, url = ?, webhooks = webhooks + 1, "
            "renewed = ?, told = max(told, ?) WHERE key = ?",
            (annotations, alert.url, now, told, alert.key),
        )
        return "renewed"
    connection.execute(
        "INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, NULL, '', ?)",
        (
            *(alert.key, subject, labels, annotations, alert.url),
            *(webhooks, now, now, told, next_change(connection)),
        ),
    )
    return "opened"


def close(
    connection: sqlite3.Connection, subject: str, told: float, now: float, why: str
) -> Result:
    """Close what is open of a subject, and remember that it was over at this time."""
    connection.execute(
        "INSERT INTO over VALUES (?, ?, ?) ON CONFLICT (subject) DO UPDATE "
        "SET told = max(told, excluded.told), at = excluded.at",
        (subject, told, now),
    )
    if _close(connection, why, now, "subject = ? AND told <= ?", subject, told):
        return "closed"
    is_open = connection.execute(
        "SELECT 1 FROM alerts WHERE subject = ? AND closed IS NULL", (subject,)
    ).fetchone()
    return "older" if is_open else "ignored"


def is_known(connection: sqlite3.Connection, subject: str) -> bool:
    """Whether anything came about a subject that is not forgotten."""
    found = connection.execute(
        "SELECT 1 FROM alerts WHERE subject = ?1 UNION "
        "SELECT 1 FROM over WHERE subject = ?1",
        (subject,),
    )
    return found.fetchone() is not None


def confirm(connection: sqlite3.Connection, subject: str, now: float) -> None:
    """Note that Sentry's API calls the subject open."""
    connection.execute(
        "UPDATE alerts SET renewed = ? WHERE subject = ? AND closed IS NULL",
        (now, subject),
    )


def close_others(
    connection: sqlite3.Connection, subject: str, key: str, told: float, now: float
) -> None:
    """Close what is open of a subject, but for one alert."""
    which = "subject = ? AND key <> ? AND told <= ?"
    _close(connection, "another severity", now, which, subject, key, told)


def _has_newer(
    connection: sqlite3.Connection, subject: str, key: str, told: float
) -> bool:
    """Whether another alert of the subject is open, and newer than this time."""
    found = connection.execute(
        "SELECT 1 FROM alerts WHERE subject = ? AND key <> ? AND closed IS NULL "
        "AND told > ?",
        (subject, key, told),
    )
    return found.fetchone() is not None


def close_silent(
    connection: sqlite3.Connection, kind: str, before: float, now: float
) -> int:
    """Close a kind's alerts of which no webhook came since a time; return how many."""
    which = "renewed < ? AND subject LIKE ?"
    return _close(connection, "no news", now, which, before, f"{kind}:%")


def _close(
    connection: sqlite3.Connection, why: str, now: float, which: str, *given: object
) -> int:
    """Close the open alerts that this condition holds for; return how many."""
    found = connection.execute(
        f"SELECT key FROM alerts WHERE closed IS NULL AND {which}",  # noqa: S608 - ours
        given,
    ).fetchall()
    if found:
        change = next_change(connection)
        connection.executemany(
            "UPDATE alerts SET closed = ?, why = ?, changed = ? WHERE key = ?",
            [(now, why, change, key) for (key,) in found],
        )
    return len(found)


def next_change(connection: sqlite3.Connection) -> int:
    """Return the number of a change that comes now. No number is given twice."""
    connection.execute(
        "INSERT INTO facts VALUES ('change', '1') ON CONFLICT (name) DO UPDATE "
        "SET value = CAST(value AS INTEGER) + 1"
    )
    (value,) = connection.execute(
        "SELECT value FROM facts WHERE name = 'change'"
    ).fetchone()
    return int(value)


def tidy(connection: sqlite3.Connection, now: float) -> None:
    """Forget what nobody needs any more.

    A closed alert is kept until each Alertmanager knows it, but not longer than an
    Alertmanager would keep the alert open by itself.
    """
    old = now - KEPT_SECONDS
    connection.execute("DELETE FROM alerts WHERE closed < ?", (old,))
    connection.execute("DELETE FROM over WHERE at < ?", (old,))
    connection.execute(
        "DELETE FROM seen WHERE at < ? OR number <= (SELECT max(number) FROM seen) - ?",
        (old, SEEN_LIMIT),
    )


def posted(connection: sqlite3.Connection, url: str, change: int, now: float) -> None:
    """Note that an Alertmanager knows every change up to this one."""
    connection.execute(
        "INSERT INTO alertmanagers VALUES (?, ?, ?, NULL, '') ON CONFLICT (url) "
        "DO UPDATE SET posted = max(posted, excluded.posted), "
        "success = excluded.success, failure = NULL, reason = ''",
        (url, change, now),
    )


def not_posted(
    connection: sqlite3.Connection, url: str, reason: str, now: float
) -> None:
    """Note that an Alertmanager did not take what was posted."""
    connection.execute(
        "INSERT INTO alertmanagers VALUES (?, 0, NULL, ?, ?) ON CONFLICT (url) "
        "DO UPDATE SET failure = excluded.failure, reason = excluded.reason",
        (url, now, reason),
    )


def _json(value: dict[str, str]) -> str:
    return msgspec.json.encode(value).decode()
