"""What others read of the store: open alerts, webhooks, Alertmanagers. Changes nothing."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

import msgspec

from agent.bridge.news import Alert

if TYPE_CHECKING:
    from collections.abc import Iterator

BUSY_SECONDS = 5.0
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

    def open_alerts(self) -> list[Row]:
        """Return every open alert, the oldest first."""
        return self._rows("closed IS NULL ORDER BY opened, key")

    def to_post(self, change: int) -> list[Row]:
        """Return the open alerts, and those that were closed after a change."""
        return self._rows("closed IS NULL OR changed > ? ORDER BY changed, key", change)

    def changes(self, change: int) -> list[Row]:
        """Return what has opened or closed after a change."""
        return self._rows("changed > ? ORDER BY changed, key", change)

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


def _row(subject: str, labels: str, annotations: str, url: str, *rest: object) -> Row:
    decode = msgspec.json.Decoder(dict[str, str]).decode
    alert = Alert(decode(labels), decode(annotations), url)
    return Row(subject, alert, *rest)  # type: ignore[arg-type]
