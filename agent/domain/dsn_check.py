"""The DSN check: what a server's answers to harmless requests say about a DSN.

One answer proves little: a relay may accept a key that it does not know yet, and deny a
key that it failed to fetch. So a verdict needs several answers over some time. All times
are in seconds.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from agent.domain.value import Value
from resentry.contract import fingerprint
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
"""The number of equal answers that make a verdict, if they are spread over enough time."""
REMEMBERED = 30
"""The number of answers that are kept of each DSN: the newest."""


class Times(Value, frozen=True):
    """All times follow from `patience`, the time limit for a verdict."""

    patience: float = 300.0

    @property
    def accept(self) -> float:
        """The least time between the first and the last answer that accept a DSN."""
        return self.patience / 5

    @property
    def reject(self) -> float:
        """The least time between the first and the last answer that reject a DSN."""
        return self.patience * 2 / 5

    @property
    def pace(self) -> float:
        """The least time between two requests of one check."""
        return self.patience / 10

    @property
    def idle(self) -> float:
        """The least time before a published DSN that nobody uses is checked again."""
        return self.patience * 6


class Series(Value, frozen=True):
    """The answers to the checks of one DSN, oldest first, each with its time."""

    began: float
    seen: tuple[tuple[float, Answer], ...] = ()

    def add(self, now: float, answer: Answer, times: Times) -> Series:
        """Return the series with one more answer.

        If a settled DSN is accepted after all, a new series begins: the key was enabled.
        """
        if answer == "good" and self.seen and self.is_settled(now, times):
            return Series(now, ((now, answer),))
        return Series(self.began, (*self.seen, (now, answer))[-REMEMBERED:])

    def verdict(self, times: Times) -> Verdict:
        """Return the verdict of now.

        A missing answer and a 5xx say nothing about a DSN, so they undo no rejection.
        """
        telling = [(when, answer) for when, answer in self.seen if answer != "none"]
        last = telling[-1][1] if telling else "none"
        if last == "good":
            good = _lasts(_run(self.seen, "good"), times.accept)
            return "accepted" if good else "accepted_once"
        if last == "denied":
            bad = _lasts(_run(telling, "denied"), times.reject)
            return "rejected" if bad else "rejected_once"
        plain: dict[Answer, Verdict] = {
            "final": "rejected",
            "malformed": "config_error",
            "limited": "limited",
            "skipped": "skipped",
        }
        return plain.get(last, "unknown")

    def is_settled(self, now: float, times: Times) -> bool:
        """Return true if there is a verdict, or the time limit for one is over."""
        return (
            self.verdict(times) in PASSING + FAILING
            or now - self.began >= times.patience
        )

    def pause(self, now: float, times: Times) -> float | None:
        """Return how long to wait before the next check; `None` if no check follows."""
        verdict = self.verdict(times)
        if verdict in (*PASSING, "config_error") or self.seen[-1][1] == "final":
            return None
        return times.patience if self.is_settled(now, times) else times.pace


def _run(
    seen: Sequence[tuple[float, Answer]], answer: Answer
) -> list[tuple[float, Answer]]:
    """Return the answers at the end that are all equal to `answer`."""
    run: list[tuple[float, Answer]] = []
    for when, given in reversed(seen):
        if given != answer:
            break
        run.insert(0, (when, given))
    return run


def _lasts(run: Sequence[tuple[float, Answer]], seconds: float) -> bool:
    return len(run) >= ENOUGH and run[-1][0] - run[0][0] >= seconds


class DsnReport(Value, frozen=True):
    """What is known about one DSN, in a form that may be shown."""

    dsn: str
    fingerprint: str
    verdict: Verdict
    settled: bool
    answers: int
    since: float
    """Since when the verdict is this one: seconds since the epoch."""
    reason: str = ""
    """Why the last request got no answer that tells anything; else empty."""

    @property
    def sentence(self) -> str:
        """One line for people."""
        meaning = MEANINGS[self.verdict] if self.answers else NOT_ASKED
        reason = f": {self.reason}" if self.reason and self.verdict == "unknown" else ""
        return f"DSN check of {self.dsn}: {meaning}{reason}"

    @property
    def hint(self) -> str:
        """What an operator can do about a bad verdict; empty for a good one."""
        return HINTS.get(self.verdict, "") if self.settled else ""


MEANINGS: dict[Verdict, str] = {
    "accepted_once": "accepted once, to be confirmed by further answers",
    "accepted": "accepted",
    "rejected_once": "rejected once (403), to be confirmed by further answers",
    "rejected": "rejected (403): the key is unknown or disabled, or the project is gone",
    "limited": "the key is valid, but its rate is limited (429)",
    "config_error": "the server does not understand the request (400 or 401): check the DSN",
    "unknown": "the server gave no answer that says whether it accepts the key; the agent "
    "asks again",
    "skipped": "not asked: GlitchTip blocks a project after one wrong key",
}
NOT_ASKED = "no answer yet: the agent has just begun to ask the server"
HINTS: dict[Verdict, str] = {
    "rejected": "enable the key at the server, or correct SENTRY_DSN at the source",
    "config_error": "correct SENTRY_DSN at the source",
    "unknown": "check DNS, TLS and the network from the agent's container: the agent uses "
    "no proxy, also if HTTPS_PROXY is set",
}


def answer_of(status: int, body: bytes = b"") -> Answer:
    """Return what an HTTP answer means. The body is not kept: it may quote the DSN."""
    if status == 403:
        # GlitchTip answers so. Each wrong key makes it block the whole project for 30 s.
        return "final" if b'"Denied"' in body else "denied"
    if status in (400, 401):
        # A server of 2021 does not know the item. That says nothing about the key.
        return "none" if b"unknown variant" in body else "malformed"
    plain: dict[int, Answer] = {200: "good", 429: "limited"}
    return plain.get(status, "none")


def dsns_of(snapshot: Snapshot | None) -> frozenset[str]:
    """Return every DSN of a snapshot: that of the shared settings and those of roles."""
    if snapshot is None:
        return frozenset()
    found = {snapshot.settings.get("SENTRY_DSN")}
    for role in snapshot.roles.values():
        found.add(role.get("SENTRY_DSN"))
    return frozenset(filter(None, found))


def project_of(dsn: str) -> tuple[str, str]:
    """Return the project of a DSN: the server, and the path on the server."""
    parts = urlsplit(dsn)
    return parts.netloc.rpartition("@")[2], parts.path


def report_of(
    dsn: str,
    series: Series,
    now: float,
    times: Times,
    since: float,
    reason: str = "",
) -> DsnReport:
    """Return what is known about a DSN."""
    return DsnReport(
        *names_of(dsn),
        series.verdict(times),
        series.is_settled(now, times),
        len(series.seen),
        since,
        reason,
    )


@lru_cache(maxsize=64)
def names_of(dsn: str) -> tuple[str, str]:
    """Return the shown form and the fingerprint. Each turn of the loop needs them."""
    return show_dsn(dsn), fingerprint(dsn)
