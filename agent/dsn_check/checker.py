"""Checks DSNs: says when and how often a server is asked, and what it answered."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from msgspec import Struct, field

from agent.backoff import NEVER
from agent.domain.dsn_check import (
    FAILING,
    PASSING,
    Series,
    Verdict,
    project_of,
    report_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from agent.domain.dsn_check import Answer, DsnReport, Times

CHECK_SECONDS = 5.0
"""The time limit for one answer."""
KEPT = 16
"""The number of unwanted DSNs that are remembered.

A DSN that is wanted again is then not asked again at once.
"""


class _Case(Struct):
    """One DSN. `next_at` is the time of the next request; `None` if none follows.

    `reason` says why the last request got no answer. `earlier` are the answers of the check
    before. They count until this check has a result.
    """

    series: Series
    next_at: float | None
    limit: float = CHECK_SECONDS
    asked_at: float | None = None
    is_wanted: bool = True
    verdict: Verdict = "unknown"
    since: float = field(default_factory=time.time)
    reason: str = ""
    earlier: Series | None = None
    is_again: bool = False

    def shown(self, now: float, times: Times) -> Series:
        """Return the answers that count now."""
        verdict, series = self.series.verdict(times), self.series
        if self.earlier is None:
            return series
        was_bad = self.earlier.verdict(times) in (*FAILING, "rejected_once")
        if verdict == "unknown" and was_bad:
            return self.earlier  # no answer undoes no rejection
        if series.is_settled(now, times):
            return series
        return self.earlier if verdict in ("unknown", "accepted_once") else series


class Checker:
    """Checks DSNs in a thread, which ends when no check follows.

    `send` asks the server of one DSN within so many seconds. Each DSN is asked at most
    ten times within `times.patience`. After a verdict it is asked once within that time.
    """

    def __init__(
        self,
        times: Times,
        send: Callable[[str, float], Answer],
        *,
        is_glitchtip: bool = False,
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._times = times
        self._send = send
        self._is_glitchtip = is_glitchtip
        self.idle_seconds = NEVER if is_glitchtip else times.idle
        self._turn = threading.Condition()
        self._cases: dict[str, _Case] = {}
        self._thread: threading.Thread | None = None
        self._newest: tuple[tuple[DsnReport, ...], float] | None = None
        """The report of now, and until when it counts if nothing happens."""
        self._retained: Collection[str] | None = None
        """What `retain` was called with last; `None` if other DSNs are wanted since then."""

    def ask(
        self, dsns: Collection[str], in_use: Collection[str], wait: float = 0.0
    ) -> list[DsnReport]:
        """Have these DSNs checked from now on, and return what is known about them.

        With `wait`, the first request is sent at once, and the call returns after its
        answer, or after so many seconds. Without `wait`, the call returns at once, and
        the first request follows after a random pause. GlitchTip is not asked about a
        DSN whose project is `in_use`.
        """
        busy = {project_of(dsn) for dsn in in_use} if self._is_glitchtip else set()
        with self._turn:
            self._newest = self._retained = None
            now = time.monotonic()
            for dsn in sorted(dsns):
                self._want(dsn, now, wait, is_busy=project_of(dsn) in busy)
            if dsns:
                self._go_on()
            if wait:
                asked = [d for d in dsns if self._is_asked_by(d, now + wait)]
                self._turn.wait_for(lambda: all(map(self._is_answered, asked)), wait)
            return self._reports(dsns)

    def again(self, dsns: Collection[str]) -> None:
        """Check published DSNs again. This check ends with its result.

        A DSN whose check still runs is left alone, and so is one after whose key GlitchTip
        was asked: each wrong key makes it block the project.
        """
        with self._turn:
            self._newest = self._retained = None
            now = time.monotonic()
            for dsn in dsns:
                case = self._cases.pop(dsn, None) or _Case(Series(now), None)
                self._cases[dsn] = case
                if (case.is_wanted and case.next_at is not None) or _is_final(case):
                    continue
                case.earlier = (
                    case.shown(now, self._times) if case.series.seen else None
                )
                case.series, case.next_at = Series(now), now
                case.is_again = case.is_wanted = True
            self._go_on()

    def asked_at(self, dsn: str) -> float | None:
        """Return when the server last answered, or did not; `None` if it was not asked."""
        with self._turn:
            case = self._cases.get(dsn)
            return case.asked_at if case is not None else None

    def last(self, dsn: str) -> Answer | None:
        """Return the newest answer of the check that goes on; `None` before its first."""
        with self._turn:
            case = self._cases.get(dsn)
            return (
                case.series.seen[-1][1]
                if case is not None and case.series.seen
                else None
            )

    def retain(self, dsns: Collection[str]) -> None:
        """Check and report these DSNs from now on, and no others."""
        if dsns == self._retained:
            return
        with self._turn:
            self._retained = dsns
            changed = [
                case for d, case in self._cases.items() if case.is_wanted != (d in dsns)
            ]
            for case in changed:
                case.is_wanted = not case.is_wanted
            for dsn in [d for d, c in self._cases.items() if not c.is_wanted][:-KEPT]:
                del self._cases[dsn]
            if changed:  # else the thread would wake at each pass, for nothing
                self._newest = None
                self._turn.notify_all()

    def report(self) -> tuple[DsnReport, ...]:
        """Return what is known about every wanted DSN, newest last."""
        newest, now = self._newest, time.monotonic()
        if newest is None or now >= newest[1]:
            with self._turn:
                shown = [dsn for dsn, case in self._cases.items() if _is_shown(case)]
                newest = tuple(self._reports(shown)), self._settles_at(now)
                self._newest = newest
        return newest[0]

    def _settles_at(self, now: float) -> float:
        """Return when time alone settles the next check."""
        cases, times = self._cases.values(), self._times
        given = [each for case in cases for each in (case.series, case.earlier) if each]
        open_ = [series.began for series in given if not series.is_settled(now, times)]
        return min(open_, default=NEVER) + times.patience

    def _want(self, dsn: str, now: float, wait: float, *, is_busy: bool) -> None:
        case = self._cases.pop(dsn, None)
        if case is not None and (case.is_wanted or self._is_fresh(case, now)):
            case.is_wanted = True
            self._cases[dsn] = case
            return
        pause = 0.0 if wait else random.uniform(0, self._times.pace)  # noqa: S311
        next_at = now + pause
        if case is not None and case.asked_at is not None:
            next_at = max(next_at, case.asked_at + self._times.pace)
        made = _Case(Series(now), next_at, min(wait or CHECK_SECONDS, CHECK_SECONDS))
        if is_busy:
            made.series, made.next_at = Series(now, ((now, "skipped"),)), None
            made.verdict = "skipped"
        elif case is not None:
            made.asked_at = case.asked_at
        self._cases[dsn] = made

    def _is_fresh(self, case: _Case, now: float) -> bool:
        """Whether the verdict of a DSN that is wanted again still counts."""
        asked_at = case.asked_at
        if asked_at is None or now - asked_at >= self._times.patience:
            return False
        return case.series.verdict(self._times) in PASSING + FAILING

    def _is_asked_by(self, dsn: str, deadline: float) -> bool:
        next_at = self._cases[dsn].next_at
        return next_at is not None and next_at < deadline

    def _is_answered(self, dsn: str) -> bool:
        return bool(self._cases[dsn].series.seen)

    def _reports(self, dsns: Collection[str]) -> list[DsnReport]:
        now = time.monotonic()
        shown = {d: c.shown(now, self._times) for d, c in self._cases.items()}
        return [
            report_of(dsn, shown[dsn], now, self._times, case.since, case.reason)
            for dsn, case in self._cases.items()
            if dsn in dsns
        ]

    def _go_on(self) -> None:
        """Have the thread look what is due."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._work, name="dsn-check", daemon=True
            )
            self._thread.start()
        self._turn.notify_all()

    # In the thread

    def _work(self) -> None:
        while (due := self._next()) is not None:
            dsn, limit = due
            reason = ""
            try:
                answer = self._send(dsn, limit)
            except OSError as error:
                answer, reason = "none", str(error)
            except Exception:  # noqa: BLE001 - the thread outlives our mistakes
                answer = "none"
            self._take(dsn, answer, reason)
            self.changed()

    def _next(self) -> tuple[str, float] | None:
        """Wait until a DSN is due, and return it. `None` ends the thread."""
        with self._turn:
            while True:
                due = [
                    (case.next_at, dsn)
                    for dsn, case in self._cases.items()
                    if case.is_wanted and case.next_at is not None
                ]
                if not due:
                    self._thread = None
                    return None
                next_at, dsn = min(due)
                seconds = next_at - time.monotonic()
                if seconds <= 0:
                    return dsn, self._cases[dsn].limit
                self._turn.wait(seconds)

    def _take(self, dsn: str, answer: Answer, reason: str) -> None:
        with self._turn:
            case = self._cases.get(dsn)
            if case is None:
                return
            self._newest = None
            now = time.monotonic()
            case.asked_at, case.limit, case.reason = now, CHECK_SECONDS, reason
            case.series = case.series.add(now, answer, self._times)
            verdict = case.shown(now, self._times).verdict(self._times)
            if verdict != case.verdict:
                case.verdict, case.since = verdict, time.time()
            pause = case.series.pause(now, self._times)
            if case.is_again and case.series.is_settled(now, self._times):
                pause = None
            share = random.uniform(1, 1.25)  # noqa: S311 - a fleet must not ask in step
            case.next_at = None if pause is None else now + pause * share
            self._turn.notify_all()


def _is_final(case: _Case) -> bool:
    return bool(case.series.seen) and case.series.seen[-1][1] == "final"


def _is_shown(case: _Case) -> bool:
    """Whether there is something to say: nothing was expected of a check again."""
    is_begun = case.series.seen or case.earlier is not None
    return bool(case.is_wanted and (is_begun or not case.is_again))
