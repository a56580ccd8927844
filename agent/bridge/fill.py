"""Asks Sentry's API for what no webhook has told: ends of issues, and new issues.

Sentry does not send the webhooks of an internal integration again, so each one that was
lost leaves a gap.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog

from agent.bridge import news, tables
from agent.bridge.payloads import ApiIssue
from agent.bridge.rounds import Rounds
from agent.bridge.store import Full
from agent.errors import AgentError
from agent.observe.converting import convert
from agent.sentry_api.client import Subject, foreign
from agent.sentry_api.errors import SentryApiAbsent, SentryApiForeign, SentryApiGone
from agent.sentry_api.open import open_api
from resentry.formats import moment

if TYPE_CHECKING:
    from collections.abc import Callable
    from sqlite3 import Connection

    from agent.bridge.metrics import BridgeMetrics
    from agent.bridge.store import Store
    from agent.settings import Settings

T = TypeVar("T")
ASKED_LIMIT = 100
"""So many issues are asked for in one round: those that were heard of longest ago."""
ABSENT_ROUNDS = 3
"""After so many rounds, an issue that Sentry does not know was deleted."""
SETTLED_SECONDS = 120.0
"""The webhook of a younger issue may still come."""
OVER = frozenset({"resolved", "ignored", "pending_deletion", "pending_merge"})
"""The states of an issue for which nobody has to act."""
SECONDS = 10.0
_SUBJECT = Subject("issues", "event:read")

log = structlog.get_logger()


class Filler(Rounds):
    """Fills gaps again and again. Raises `SettingsError` if it cannot start."""

    def __init__(
        self, settings: Settings, store: Store, metrics: BridgeMetrics
    ) -> None:
        super().__init__("fill", settings.bridge_fill_seconds)
        self._settings = settings
        self._api = open_api(settings, _SUBJECT)
        self._store = store
        self._metrics = metrics
        self._failures = 0
        self._absent: dict[str, int] = {}
        """What got no answer before: in how many rounds Sentry did not know it."""

    def _round(self) -> float:
        try:
            self._fill()
        except (AgentError, Full) as error:
            self._failed(error)
            return max(self._seconds, getattr(error, "retry_after", None) or 0)
        if self._failures:
            log.info("Sentry's API answers again")
        self._failures = 0
        self._metrics.filled(0)
        return self._seconds

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._metrics.filled(self._failures)
        if self._failures == 1:
            log.warning(
                "cannot ask Sentry's API for what no webhook has told; trying again",
                reason=str(error),
                hint=getattr(error, "hint", ""),
            )

    def _fill(self) -> None:
        absent, is_answered = list[tuple[str, float]](), False
        for subject, newest in self._next():
            try:
                is_there = self._ask(subject, newest)
            except AgentError:
                self._absent.setdefault(subject, 0)  # the others come first next time
                raise
            if is_there:
                self._absent.pop(subject, None)
                is_answered = True
            else:
                absent.append((subject, newest))
        if self._settings.bridge_fill_query:
            self._find()
            is_answered = True
        for subject, newest in absent:
            self._note_absent(subject, newest, is_counted=is_answered)

    def _next(self) -> list[tuple[str, float]]:
        """Return what is asked in this round: last what got no answer before."""
        rows = self._store.reader.longest_ago("issue", ASKED_LIMIT + len(self._absent))
        is_open = {subject for subject, _ in rows}
        self._absent = {s: n for s, n in self._absent.items() if s in is_open}
        return sorted(rows, key=lambda row: row[0] in self._absent)[:ASKED_LIMIT]

    def _ask(self, subject: str, newest: float) -> bool:
        """Close what Sentry calls over; return whether Sentry knows the issue.

        It was over at `newest`, the time of its newest webhook: by Sentry's clock, and
        every webhook after that time wins.
        """
        number = subject.removeprefix("issue:")
        organization = self._settings.sentry_organization
        try:
            found = self._api.ask(
                "GET", "organizations", organization, "issues", number
            )
        except (SentryApiGone, SentryApiForeign):
            raise
        except SentryApiAbsent:
            return False
        if _issue(found).status in OVER:
            self._close(subject, newest, "over, says the API")
        else:
            now = time.time()
            self._do(lambda c: tables.confirm(c, subject, now))
        return True

    def _note_absent(self, subject: str, newest: float, *, is_counted: bool) -> None:
        """Close what Sentry has not known for some rounds in which it did answer."""
        self._absent[subject] = self._absent.get(subject, 0) + is_counted
        if self._absent[subject] >= ABSENT_ROUNDS:
            self._close(subject, newest, "deleted, says the API")

    def _close(self, subject: str, newest: float, why: str) -> None:
        now = time.time()
        self._do(lambda c: tables.close(c, subject, newest, now, why))
        self._metrics.gap("end")
        log.info(
            "alerts were closed: no webhook of the end came", subject=subject, why=why
        )

    def _find(self) -> None:
        """Open an alert for each new issue of which nothing came."""
        settings, now = self._settings, time.time()
        found = self._api.all(
            *("organizations", settings.sentry_organization, "issues"),
            params={
                "query": f"{settings.bridge_fill_query} project:{settings.sentry_project}",
                "environment": settings.environment,
                "sort": "new",
                "limit": "100",
            },
        )
        for issue in map(_issue, found):
            if _age(issue, now) < SETTLED_SECONDS:
                continue
            try:
                opened = news.read_issue(issue, settings.environment)
            except news.NotUnderstood as error:
                raise AgentError(
                    f"Sentry's API tells of an odd issue: {error}"
                ) from None
            if self._do(partial(_open, opened=opened)):
                self._metrics.gap("begin")
                log.info(
                    "an alert was opened: no webhook of the issue came",
                    subject=opened.subject,
                )

    def _do(self, job: Callable[[Connection], T]) -> T:
        return self._store.submit(job).result(SECONDS)


def _open(connection: Connection, opened: news.News) -> bool:
    """Open the alert of an issue of which nothing is known; return whether it was.

    No webhook has told it at any time: an end that a webhook tells is never older.
    """
    if opened.opens is None or tables.is_known(connection, opened.subject):
        return False
    result = tables.open_alert(
        connection, opened.subject, opened.opens, 0.0, time.time(), webhooks=0
    )
    return result == "opened"


def _issue(found: object) -> ApiIssue:
    try:
        return convert(found, ApiIssue)
    except msgspec.ValidationError:
        raise foreign() from None


def _age(issue: ApiIssue, now: float) -> float:
    """Return the seconds since an issue was first seen; many if nobody can say."""
    try:
        return now - moment(issue.first_seen)
    except (TypeError, ValueError, AttributeError):
        return SETTLED_SECONDS
