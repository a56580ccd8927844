"""What others read of the store: open alerts, webhooks, Alertmanagers. Changes nothing."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from agent.bridge.news import Alert

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_SECONDS = 5.0
PAGE = 500
"""So many alerts are read at once: a storm of alerts takes no more memory."""
FIRST = (-1, "")
"""The place before the first row."""
_COLUMNS = (
    "subject, labels, annotations, url, webhooks, opened, renewed, told, closed, why, "
    "changed"
)


class Row(NamedTuple):
    """An alert as it is stored."""

    subject: str
    alert: Alert
    webhooks: int
    opened: float
    renewed: float
    told: float
    closed: float | None
    why: str
    changed: int

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands among the changes."""
        return self.changed, self.alert.key


class Webhooks(NamedTuple):
    """What came of one resource."""

    resource: str
    newest: float
    number: int


class Alertmanager(NamedTuple):
    """What an Alertmanager knows, and when it last took or refused something."""

    url: str
    posted: int
    success: float | None
    failure: float | None
    reason: str


class Reader:
    """Reads the store of a bridge, also while the bridge writes it."""

    def __init__(self, path: str) -> None:
        self._uri = f"file:{quote(path)}?mode=ro"

    def open_alerts(self, limit: int = PAGE) -> list[Row]:
        """Return the open alerts, the oldest first."""
        return self._rows("closed IS NULL ORDER BY opened, key LIMIT ?", limit)

    def open_number(self) -> dict[str, int]:
        """Return the number of open alerts of each severity."""
        query = (
            "SELECT json_extract(labels, '$.severity'), count(*) FROM alerts "
            "WHERE closed IS NULL GROUP BY 1"
        )
        with self._open() as connection:
            return {str(name): number for name, number in connection.execute(query)}

    def behind(self, change: int) -> int:
        """Return the number of alerts that have opened or closed after a change."""
        query = "SELECT count(*) FROM alerts WHERE changed > ?"
        with self._open() as connection:
            (number,) = connection.execute(query, (change,)).fetchone()
            return int(number)

    def to_post(
        self, change: int, after: tuple[int, str] = FIRST, since: float = math.inf
    ) -> list[Row]:
        """Return a page of the open alerts, and of those that closed after a change.

        What has closed since a time comes, too. `after` is the place of the row before the
        page.
        """
        where = (
            "(closed IS NULL OR changed > ? OR closed >= ?) AND (changed, key) > (?, ?) "
            "ORDER BY changed, key LIMIT ?"
        )
        return self._rows(where, change, since, *after, PAGE)

    def changes(self, change: int, after: tuple[int, str] = FIRST) -> list[Row]:
        """Return a page of what has opened or closed after a change."""
        where = "changed > ? AND (changed, key) > (?, ?) ORDER BY changed, key LIMIT ?"
        return self._rows(where, change, *after, PAGE)

    def longest_ago(self, kind: str, limit: int) -> list[tuple[str, float]]:
        """Return what is open of a kind, and Sentry's time of the newest webhook.

        What was heard of longest ago comes first.
        """
        query = (
            "SELECT subject, max(told) FROM alerts WHERE closed IS NULL "
            "AND subject LIKE ? GROUP BY subject ORDER BY min(renewed) LIMIT ?"
        )
        with self._open() as connection:
            return list(connection.execute(query, (f"{kind}:%", limit)))

    def webhooks(self) -> list[Webhooks]:
        """Return what came of each resource."""
        with self._open() as connection:
            found = connection.execute(
                "SELECT resource, newest, number FROM webhooks ORDER BY resource"
            )
            return [Webhooks(*row) for row in found]

    def facts(self) -> dict[str, str]:
        """Return what is noted by name."""
        with self._open() as connection:
            return dict(connection.execute("SELECT name, value FROM facts"))

    def alertmanagers(self) -> dict[str, Alertmanager]:
        """Return each Alertmanager that was ever posted to, by its URL."""
        with self._open() as connection:
            found = connection.execute(
                "SELECT url, posted, success, failure, reason FROM alertmanagers"
            )
            return {row[0]: Alertmanager(*row) for row in found}

    def _rows(self, where: str, *given: object) -> list[Row]:
        query = f"SELECT {_COLUMNS} FROM alerts WHERE {where}"  # noqa: S608 - ours
        with self._open() as connection:
            return [_row(*row) for row in connection.execute(query, given)]

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._uri, timeout=BUSY_SECONDS, uri=True)
        try:
            yield connection
        finally:
            connection.close()


_decode = msgspec.json.Decoder(dict[str, str]).decode


def _row(subject: str, labels: str, annotations: str, url: str, *rest: object) -> Row:
    alert = Alert(_decode(labels), _decode(annotations), url)
    return Row(subject, alert, *rest)  # type: ignore[arg-type]
