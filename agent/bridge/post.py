"""Posts alerts to the Alertmanagers: each has a thread, and a back-off of its own.

An Alertmanager forgets every alert when it restarts, so open alerts are posted again and
again, as Prometheus does. What was closed is posted until each replica has taken it,
and for a while longer: a replica that was away had no address meanwhile.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from agent.backoff import retry_seconds
from agent.bridge import tables
from agent.bridge.alertmanager import addresses_of, seconds_ahead
from agent.bridge.reading import FIRST
from agent.bridge.store import Full
from agent.bridge.trips import ALIVE
from agent.domain.value import replace
from agent.web import Answer, Request, ask
from resentry.formats import time_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from agent.bridge.metrics import BridgeMetrics
    from agent.bridge.reading import Row
    from agent.bridge.store import Store

HOLD_SECONDS = 3600.0
"""An alert that is not posted again ends by itself in an Alertmanager after this time, or
after that of three posts."""
ALIVE_SECONDS = 300.0
"""A sign of life that is not posted again ends sooner, but not before the next post."""
GATHER_SECONDS = 0.2
"""After a change, the time for further changes to come."""
SECONDS = 10.0
CAP_SECONDS = 60.0
CLOSED_SECONDS = 900.0
"""The end of an alert is posted for so long, as Prometheus does, or for three posts."""
AHEAD_SECONDS = 60.0
"""If the two clocks differ by more than this, the log says so."""
_REJECTS = (400, 422)
"""The statuses by which an Alertmanager says that an alert of the request is wrong."""

log = structlog.get_logger()


class Refused(OSError):
    """The Alertmanager has answered with an error."""


class Poster:
    """Keeps one Alertmanager told.

    Args:
        url: its address, as http://alertmanager:9093.
        name: how log and metrics call it.
        store: what is to be posted.
        resend_seconds: open alerts are posted again after this time.
        headers: sent with each request, as an Authorization.
        metrics: count what is posted.

    """

    def __init__(
        self,
        url: str,
        name: str,
        store: Store,
        resend_seconds: float,
        headers: Mapping[str, str],
        metrics: BridgeMetrics,
    ) -> None:
        self.url = url
        self._address = f"{url.rstrip('/')}/api/v2/alerts"
        self.name = name
        self._store = store
        self._resend = resend_seconds
        self._headers = {"Content-Type": "application/json", **headers}
        self._metrics = metrics
        self.own: Callable[[], list[Row]] = list
        """Returns alerts that are not in the store: a store that fails does not keep them
        back."""
        self._own_posted: list[Row] = []
        self._addresses = [""]
        self._away: dict[str, str] = {}
        """The replicas that have failed in this round, and why."""
        self._ahead = 0.0
        """How far the Alertmanager's clock is ahead of ours."""
        self._wake = threading.Event()
        self._is_over = False
        self._failures = 0
        known = store.reader.alertmanagers().get(url)
        self._posted = known.posted if known else 0
        self._thread = threading.Thread(target=self._run, name="post", daemon=True)

    def start(self) -> None:
        """Post from now on."""
        self._thread.start()

    def wake(self) -> None:
        """Post soon: something has changed."""
        self._wake.set()

    def stop(self, seconds: float) -> None:
        """Post what is new once more, and end, within about this time."""
        self._is_over = True
        self._wake.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        resend_at = 0.0
        while True:
            is_over = self._is_over
            is_due = time.monotonic() >= resend_at
            pause, is_taken = self._resend, True
            try:
                self._post_all(is_due=is_due)
            except (OSError, tables.StoreError, Full) as error:
                pause = self._failed(error)
                is_taken = 0 < len(self._away) < len(self._addresses)  # by a replica
            except Exception:  # a bug must not end the thread
                log.exception("cannot post alerts", alertmanager=self.name)
                pause = self._failed(OSError("an unexpected error"))
                is_taken = False
            else:
                self._succeeded()
            if is_due and is_taken:
                resend_at = time.monotonic() + self._resend
            if is_over:
                return
            if not is_taken:
                self._pause(pause)
            elif self._wake.wait(min(pause, max(0.0, resend_at - time.monotonic()))):
                self._pause(GATHER_SECONDS)
            self._wake.clear()

    def _pause(self, seconds: float) -> None:
        """Wait whatever changes, but not beyond the end."""
        until = time.monotonic() + seconds
        while not self._is_over and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))

    def _post_all(self, *, is_due: bool) -> None:
        """Post what is new, and all that is open if it is due, page by page."""
        self._away = {}
        self._addresses = addresses_of(self.url)
        own = self.own()
        first = own if is_due or own != self._own_posted else []
        reader, place = self._store.reader, FIRST
        since = time.time() - max(CLOSED_SECONDS, 3 * self._resend)
        try:
            while rows := (
                reader.to_post(self._posted, place, since)
                if is_due
                else reader.changes(self._posted, place)
            ):
                page, first = [*first, *rows], []
                self._post(page)
                place = rows[-1].place
        finally:
            if first:  # also if the store cannot be read
                self._post(first)
        self._own_posted = own
        if self._away:
            raise Refused(self._why())
        self._posted = max(self._posted, place[0])
        url, change = self.url, self._posted
        self._store.submit(
            lambda connection: tables.posted(connection, url, change, time.time())
        ).result(SECONDS)

    def _post(self, rows: Sequence[Row]) -> None:
        status, said = self._send(rows)
        if status in _REJECTS and len(rows) > 1:
            self._one_by_one(rows)
        elif status in _REJECTS:
            self._reject(rows[0], status, said)
        self._metrics.posted(self.name, len(rows))

    def _one_by_one(self, rows: Sequence[Row]) -> None:
        """Post each alone: one wrong alert must not keep the others back."""
        for row in rows:
            status, said = self._send([row])
            if status in _REJECTS:
                self._reject(row, status, said)

    def _reject(self, row: Row, status: int, said: bytes) -> None:
        self._metrics.rejected(self.name)
        log.error(
            "an Alertmanager rejects an alert",
            alertmanager=self.name,
            subject=row.subject,
            status=status,
            answer=said.decode(errors="replace")[:200],
            hint="report this as a bug of resentry: the other alerts are posted",
        )

    def _send(self, rows: Sequence[Row]) -> tuple[int, bytes]:
        now, ahead = time.time(), self._ahead
        body = msgspec.json.encode(
            [_document(row, now, ahead, 3 * self._resend) for row in rows]
        )
        answer = self._ask_each(Request("POST", self._address, self._headers, body))
        self._ahead = seconds_ahead(answer.date)
        if abs(self._ahead) > AHEAD_SECONDS >= abs(ahead):
            log.warning(
                "the clock of an Alertmanager is not ours: it is sent times of its own clock",
                alertmanager=self.name,
                seconds_ahead=round(self._ahead),
                hint="set the clock of the bridge's node, or of Alertmanager's",
            )
        return answer.status, answer.body

    def _ask_each(self, request: Request) -> Answer:
        """Send this to each replica, and return the worst answer.

        A replica that fails is left out until the next round, so it keeps no other one back.
        Raises `OSError` if none takes it.
        """
        answers = []
        for address in self._addresses:
            if address in self._away:
                continue
            try:
                answer = ask(replace(request, address=address), SECONDS)
                if answer.status >= 300 and answer.status not in _REJECTS:
                    raise Refused(f"HTTP status {answer.status}")
            except OSError as error:
                self._away[address] = str(error)
            else:
                answers.append(answer)
        if not answers:
            raise Refused(self._why())
        return max(answers, key=lambda answer: answer.status)

    def _why(self) -> str:
        """Return why the replicas that are away do not take alerts."""
        return "; ".join(
            f"{address}: {why}" if address else why
            for address, why in self._away.items()
        )

    def _succeeded(self) -> None:
        if self._failures:
            log.info("an Alertmanager takes alerts again", alertmanager=self.name)
        self._failures = 0
        self._metrics.answered(self.name, 0)

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        self._metrics.answered(self.name, self._failures)
        reason, url = str(error) or type(error).__name__, self.url
        if self._failures == 1:
            log.warning(
                "cannot post alerts to an Alertmanager; trying again",
                alertmanager=self.name,
                reason=reason,
                hint="open alerts are kept; check the address and the network policy",
            )
        try:
            self._store.submit(
                lambda connection: tables.not_posted(
                    connection, url, reason, time.time()
                )
            )
        except Full:
            log.debug("the store is busy")
        return retry_seconds(self._failures, CAP_SECONDS, None)


def _document(
    row: Row, now: float, ahead: float, at_least: float = 0.0
) -> dict[str, Any]:
    """Return an alert in the form of Alertmanager's API v2.

    The other clock is so far ahead of ours. An alert is held for some time at least.
    """
    hold = max(ALIVE_SECONDS if row.subject == ALIVE else HOLD_SECONDS, at_least)
    began = min(row.opened, now)
    ends = now + hold if row.closed is None else max(began, min(row.closed, now))
    document: dict[str, Any] = {
        "labels": row.alert.labels,
        "annotations": row.alert.annotations | {"webhooks": str(row.webhooks)},
        "startsAt": time_text(began + ahead),
        "endsAt": time_text(ends + ahead),
    }
    if row.alert.url:
        document["generatorURL"] = row.alert.url
    return document
