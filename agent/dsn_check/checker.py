"""When a DSN is asked, how often, and what is known of it by now."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.domain.dsn_check import FAILING, PASSING, Series, project_of, report_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from agent.domain.dsn_check import Answer, DsnReport, Times, Verdict

CHECK_SECONDS = 5.0
KEPT = 16
"""So many DSNs are remembered, so that one that comes back is not asked again at once."""


@dataclass
class _Case:
    """One DSN. `next_at` is `None` while nothing is to be asked."""

    series: Series
    next_at: float | None
    limit: float = CHECK_SECONDS
    asked_at: float | None = None
    is_wanted: bool = True
    verdict: Verdict = "unknown"
    since: float = field(default_factory=time.time)


class Checker:
    """Checks DSNs in a thread that lives while there is something to ask.

    `send` asks one DSN within some seconds. Each DSN is asked at most once every
    tenth of `times.patience`; once its verdict has settled, every `times.patience`.
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
        self._turn = threading.Condition()
        self._cases: dict[str, _Case] = {}
        self._thread: threading.Thread | None = None

    def ask(
        self, dsns: Collection[str], in_use: Collection[str], wait: float = 0.0
    ) -> list[DsnReport]:
        """Have these DSNs checked from now on, and return what is known of them.

        With `wait` the first request is sent at once, and this returns after it, or after
        so many seconds; without, it comes at a time of its own, and this returns now.
        GlitchTip is not asked for a DSN whose project is `in_use`.
        """
        busy = {project_of(dsn) for dsn in in_use} if self._is_glitchtip else set()
        with self._turn:
            now = time.monotonic()
            for dsn in sorted(dsns):
                self._want(dsn, now, wait, is_busy=project_of(dsn) in busy)
            if dsns and self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="dsn-check", daemon=True
                )
                self._thread.start()
            self._turn.notify_all()
            if wait:
                asked = [d for d in dsns if self._comes_by(d, now + wait)]
                self._turn.wait_for(lambda: all(map(self._is_answered, asked)), wait)
            return self._found(dsns)

    def retain(self, dsns: Collection[str]) -> None:
        """Stop asking, and reporting, other DSNs than these."""
        with self._turn:
            for dsn, case in self._cases.items():
                case.is_wanted = dsn in dsns
            for dsn in [d for d, c in self._cases.items() if not c.is_wanted][:-KEPT]:
                del self._cases[dsn]
            self._turn.notify_all()

    def report(self) -> list[DsnReport]:
        """Return what is known of every DSN that was asked and is wanted, newest last."""
        with self._turn:
            return self._found([d for d, c in self._cases.items() if c.is_wanted])

    def _want(self, dsn: str, now: float, wait: float, *, is_busy: bool) -> None:
        case = self._cases.pop(dsn, None)
        if case is not None and (case.is_wanted or self._is_fresh(case, now)):
            case.is_wanted = True
            self._cases[dsn] = case
            return
        at = now if wait else now + random.uniform(0, self._times.pace)  # noqa: S311
        if case is not None and case.asked_at is not None:
            at = max(at, case.asked_at + self._times.pace)
        made = _Case(Series(now), at, min(wait or CHECK_SECONDS, CHECK_SECONDS))
        if is_busy:
            made.series, made.next_at = Series(now, ((now, "skipped"),)), None
            made.verdict = "skipped"
        elif case is not None:
            made.asked_at = case.asked_at
        self._cases[dsn] = made

    def _is_fresh(self, case: _Case, now: float) -> bool:
        """Whether the verdict of a DSN that comes back still counts."""
        asked_at = case.asked_at
        if asked_at is None or now - asked_at >= self._times.patience:
            return False
        return case.series.verdict(self._times) in PASSING + FAILING

    def _comes_by(self, dsn: str, then: float) -> bool:
        next_at = self._cases[dsn].next_at
        return next_at is not None and next_at < then

    def _is_answered(self, dsn: str) -> bool:
        return bool(self._cases[dsn].series.seen)

    def _found(self, dsns: Collection[str]) -> list[DsnReport]:
        now = time.monotonic()
        return [
            report_of(dsn, case.series, now, self._times, case.since)
            for dsn, case in self._cases.items()
            if dsn in dsns
        ]

    # In the thread

    def _work(self) -> None:
        while (due := self._next()) is not None:
            dsn, limit = due
            try:
                answer = self._send(dsn, limit)
            except Exception:  # noqa: BLE001 - the thread outlives our mistakes
                answer = "none"
            self._take(dsn, answer)
            self.changed()

    def _next(self) -> tuple[str, float] | None:
        """Wait for the next DSN's time; `None` ends the thread."""
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
                at, dsn = min(due)
                left = at - time.monotonic()
                if left <= 0:
                    return dsn, self._cases[dsn].limit
                self._turn.wait(left)

    def _take(self, dsn: str, answer: Answer) -> None:
        with self._turn:
            case = self._cases.get(dsn)
            if case is None:
                return
            now = time.monotonic()
            case.asked_at, case.limit = now, CHECK_SECONDS
            case.series = case.series.add(now, answer, self._times)
            verdict = case.series.verdict(self._times)
            if verdict != case.verdict:
                case.verdict, case.since = verdict, time.time()
            pause = case.series.pause(now, self._times)
            chance = random.uniform(1, 1.25)  # noqa: S311 - a fleet out of step
            case.next_at = None if pause is None else now + pause * chance
            self._turn.notify_all()
