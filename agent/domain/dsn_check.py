"""What a DSN's answers to harmless requests say of it. Times are in seconds.

An answer alone proves little: a relay may accept a key that it does not know yet, and
deny one that it failed to fetch. So a verdict needs several answers over some time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from resentry.values import show_dsn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from resentry.contract import Snapshot

Answer = Literal["good", "denied", "final", "malformed", "limited", "skipped", "none"]
Verdict = Literal[
    "accepted_once",
    "accepted",
    "rejected_once",
    "rejected",
    "limited",
    "config_error",
    "unknown",
    "skipped",
]
PASSING = ("accepted", "limited", "skipped")
FAILING = ("rejected", "config_error")
ENOUGH = 3
"""So many equal answers make a verdict, if they are spread widely enough."""
REMEMBERED = 30


@dataclass(frozen=True, slots=True)
class Times:
    """All times follow from how long a verdict may take."""

    patience: float = 300.0

    @property
    def accept(self) -> float:
        """Over this time a DSN has to be accepted."""
        return self.patience / 5

    @property
    def reject(self) -> float:
        """Over this time a DSN has to be rejected."""
        return self.patience * 2 / 5

    @property
    def pace(self) -> float:
        """The least time between two checks of one DSN."""
        return self.patience / 10


@dataclass(frozen=True, slots=True)
class Series:
    """The answers of one DSN, oldest first, each with its time."""

    began: float
    seen: tuple[tuple[float, Answer], ...] = ()

    def add(self, at: float, answer: Answer, times: Times) -> Series:
        """Return the series with one more answer.

        A settled DSN that is accepted after all begins anew: it was mended.
        """
        if answer == "good" and self.seen and self.is_settled(at, times):
            return Series(at, ((at, answer),))
        return Series(self.began, (*self.seen, (at, answer))[-REMEMBERED:])

    def verdict(self, times: Times) -> Verdict:
        """Say what is known. No answer and 5xx say nothing, and undo no rejection."""
        known = [one for one in self.seen if one[1] != "none"]
        last = known[-1][1] if known else "none"
        if last == "good":
            good = _lasts(_run(self.seen, "good"), times.accept)
            return "accepted" if good else "accepted_once"
        if last == "denied":
            bad = _lasts(_run(known, "denied"), times.reject)
            return "rejected" if bad else "rejected_once"
        plain: dict[Answer, Verdict] = {
            "final": "rejected",
            "malformed": "config_error",
            "limited": "limited",
            "skipped": "skipped",
        }
        return plain.get(last, "unknown")

    def is_settled(self, now: float, times: Times) -> bool:
        """Whether waiting on would change nothing: a verdict, or no patience left."""
        return (
            self.verdict(times) in PASSING + FAILING
            or now - self.began >= times.patience
        )

    def pause(self, now: float, times: Times) -> float | None:
        """How long to wait before the next check; `None` if there is none."""
        verdict = self.verdict(times)
        if verdict in (*PASSING, "config_error") or self.seen[-1][1] == "final":
            return None
        return times.patience if self.is_settled(now, times) else times.pace


def _run(
    seen: Sequence[tuple[float, Answer]], answer: Answer
) -> list[tuple[float, Answer]]:
    """The equal answers at the end."""
    run: list[tuple[float, Answer]] = []
    for one in reversed(seen):
        if one[1] != answer:
            break
        run.insert(0, one)
    return run


def _lasts(run: Sequence[tuple[float, Answer]], seconds: float) -> bool:
    return len(run) >= ENOUGH and run[-1][0] - run[0][0] >= seconds


@dataclass(frozen=True, slots=True)
class DsnReport:
    """What is known of one DSN, as it may be shown."""

    dsn: str
    fingerprint: str
    verdict: Verdict
    settled: bool
    answers: int
    since: float
    """When the verdict became this one: seconds since the epoch."""

    @property
    def sentence(self) -> str:
        """One line for people."""
        asked = self.answers > 0
        said = MEANINGS[self.verdict] if asked else "nothing yet"
        return f"the DSN check of {self.dsn} says: {said}"


MEANINGS: dict[Verdict, str] = {
    "accepted_once": "accepted, to be confirmed",
    "accepted": "accepted",
    "rejected_once": "rejected (403), to be confirmed",
    "rejected": "rejected: the key is unknown or disabled, or the project is gone (403)",
    "limited": "valid, but its rate is limited (429)",
    "config_error": "not understood by its server (400 or 401)",
    "unknown": "no answer that tells",
    "skipped": "not asked: GlitchTip blocks a project after one wrong key",
}


def answer_of(status: int, body: bytes = b"") -> Answer:
    """Say what an HTTP answer means. The body may quote the DSN: it goes no further."""
    if status == 403:
        # GlitchTip's words. It blocks the whole project for 30 s at each wrong key.
        return "final" if b'"Denied"' in body else "denied"
    if status in (400, 401):
        # A server of 2021 does not know the item, which says nothing of the key.
        return "none" if b"unknown variant" in body else "malformed"
    plain: dict[int, Answer] = {200: "good", 429: "limited"}
    return plain.get(status, "none")


def dsns_of(snapshot: Snapshot | None) -> frozenset[str]:
    """Every DSN of a snapshot, of its settings and of any role."""
    if snapshot is None:
        return frozenset()
    parts = (snapshot.settings, *snapshot.roles.values())
    return frozenset(dsn for part in parts if (dsn := part.get("SENTRY_DSN")))


def fingerprint_of(dsn: str) -> str:
    """A name for a DSN that does not tell its key."""
    return f"dsn-{hashlib.sha256(dsn.encode()).hexdigest()[:12]}"


def project_of(dsn: str) -> tuple[str, str]:
    """Which project a DSN is of: the server, and the path there."""
    parts = urlsplit(dsn)
    return parts.netloc.rpartition("@")[2], parts.path


def report_of(
    dsn: str, series: Series, now: float, times: Times, since: float
) -> DsnReport:
    """Put together what is known of a DSN."""
    return DsnReport(
        show_dsn(dsn),
        fingerprint_of(dsn),
        series.verdict(times),
        series.is_settled(now, times),
        len(series.seen),
        since,
    )
