"""A published DSN that nobody uses is checked again, rarely."""

from __future__ import annotations

import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from agent.domain.answers import accepted_at
from agent.domain.dsn_check import Answer, Times
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.dsn_check.checker import Checker
from agent.dsn_check.gate import Gate, Mode
from agent.dsn_check.idle import Idle
from lab.process import eventually
from resentry.answers import Answer as ProcessAnswer
from resentry.contract import Receipt, Snapshot, fingerprint, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.server

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
OTHER = DSN.replace("/42", "/43")
CURRENT = Snapshot({"SENTRY_DSN": DSN})
HALF_AN_HOUR = 1800.0
QUICK = Times(0.2)
"""An idle DSN is checked again after 1.2 to 1.5 s."""


class Server:
    """Answers as it is told to, and counts the requests by DSN."""

    def __init__(self, answer: Answer = "good") -> None:
        self.answer: Answer = answer
        self.asked: Counter[str] = Counter()

    def __call__(self, dsn: str, _seconds: float) -> Answer:
        self.asked[dsn] += 1
        return self.answer


def test_a_dsn_without_a_sign_is_due_after_half_an_hour_and_not_in_step() -> None:
    """From 30 minutes to 37.5 minutes, at random."""
    when = []
    for _ in range(50):
        idle = Idle(Times().idle)
        assert idle.due({DSN: None}, 1000.0) == []
        assert idle.due({DSN: None}, idle.next_at - 0.1) == []
        assert idle.due({DSN: None}, idle.next_at) == [DSN]
        when.append(idle.next_at - 1000.0)
    waits = sorted(when)
    assert waits[0] >= HALF_AN_HOUR * 2
    assert waits[-1] <= HALF_AN_HOUR * 2.5
    assert waits[-1] - waits[0] > 60


@pytest.mark.parametrize("step", [1.0, 60.0, 1799.0])
def test_over_a_day_no_dsn_is_due_twice_within_half_an_hour(step: float) -> None:
    """However often the daemon looks, and whatever comes and goes."""
    idle, due = Idle(Times().idle), []
    for number in range(int(86400 / step)):
        now = number * step
        published = {DSN: None} if number % 7 else {DSN: None, OTHER: None}
        due += [now] if DSN in idle.due(published, now) else []
    gaps = [after - before for before, after in pairwise(due)]
    assert len(due) >= 20
    assert min(gaps) >= HALF_AN_HOUR
    assert due[0] >= HALF_AN_HOUR


def test_a_sign_puts_the_check_off() -> None:
    """While an application sends, nobody asks; a sign of yesterday changes nothing."""
    idle = Idle(HALF_AN_HOUR)
    for now in range(0, 86400, 600):
        assert idle.due({DSN: float(now)}, float(now)) == []
    last = 86400 - 600.0
    assert idle.due({DSN: last}, last + HALF_AN_HOUR - 1) == []
    assert idle.due({DSN: last - 9999}, last + HALF_AN_HOUR * 1.25) == [DSN]


def test_without_a_published_dsn_nothing_is_due() -> None:
    """One that was taken back is forgotten."""
    idle = Idle(HALF_AN_HOUR)
    idle.due({DSN: None}, 0.0)
    assert idle.due({}, 1e9) == []
    assert idle.next_at == float("inf")


def accepted(dsn: str, seconds_ago: float, **more: Any) -> ProcessAnswer:
    when = time_text(time.time() - seconds_ago)
    return ProcessAnswer(fingerprint(dsn), "accepted", 200, when, when, **more)


@pytest.fixture
def rollout(receipt: Callable[..., Receipt]) -> Callable[..., Rollout]:
    def make(*answers: ProcessAnswer) -> Rollout:
        return assess([LiveTarget(receipt(answers=answers), 0)], CURRENT, late=False)

    return make


def test_what_processes_were_told_is_the_newest_of_each_dsn(
    rollout: Callable[..., Rollout],
) -> None:
    """A forged time of the future, or a text that is no time, is no sign."""
    now = time.time()
    told = rollout(accepted(DSN, 90), accepted(DSN, 30), accepted(OTHER, -3600))
    assert accepted_at(told, now) == {fingerprint(DSN): pytest.approx(now - 30, abs=1)}
    odd = accepted(OTHER, 1)._replace(accepted_at="yesterday")
    assert accepted_at(rollout(odd), now) == {}


def watched(server: Server, mode: Mode, *, is_glitchtip: bool = False) -> Gate:
    gate = Gate(Checker(QUICK, server, is_glitchtip=is_glitchtip), mode)
    gate.retain(CURRENT)
    return gate


def is_over(gate: Gate) -> bool:
    """Whether no request follows: its thread has ended."""
    return gate._checker._thread is None


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["warn", "enforce"])
def test_an_idle_dsn_that_died_is_noticed_and_then_left_alone(
    mode: Mode, rollout: Callable[..., Rollout]
) -> None:
    """A few requests make the verdict; after it nobody asks before the next check."""
    server = Server("denied")
    gate = watched(server, mode)
    silent = rollout()

    def verdict() -> bool:
        gate.check_idle(CURRENT, silent)
        reports = gate.report()
        return bool(reports) and reports[0].verdict == "rejected"

    assert gate.report() == ()
    eventually(verdict, 5, "the verdict")
    assert gate.report()[0].fingerprint == fingerprint(DSN)
    assert gate.report()[0].settled
    eventually(lambda: is_over(gate), what="the end of the check")
    assert 3 <= server.asked[DSN] <= 10
    assert gate.again_at > time.monotonic() + QUICK.idle * 0.8
    gate.retain(None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "seconds_ago", "is_glitchtip", "asks"),
    [
        ("warn", None, False, True),
        ("warn", 0.0, False, False),
        ("off", None, False, False),
        ("warn", None, True, False),
    ],
    ids=["nobody sends", "a process sends", "off", "glitchtip"],
)
def test_who_is_asked_about_an_idle_dsn(
    mode: Mode,
    seconds_ago: float | None,
    rollout: Callable[..., Rollout],
    *,
    is_glitchtip: bool,
    asks: bool,
) -> None:
    """Not while envelopes are accepted, and not where one wrong key blocks a project."""
    server = Server()
    gate = watched(server, mode, is_glitchtip=is_glitchtip)
    end = time.monotonic() + QUICK.idle * 1.3

    def is_past() -> bool:
        answers = [] if seconds_ago is None else [accepted(DSN, seconds_ago)]
        gate.check_idle(CURRENT, rollout(*answers))
        return time.monotonic() > end

    eventually(is_past, 10, "the time of a check")
    assert bool(server.asked) is asks
    gate.retain(None)


@pytest.mark.slow
def test_the_verdict_stays_until_the_new_check_has_one() -> None:
    """Each check begins with one good answer: that is no news of an accepted DSN."""
    server = Server()
    checker = Checker(QUICK, server)
    seen: set[tuple[str, bool]] = set()
    checker.ask([DSN], (), wait=1)
    eventually(lambda: checker.report()[0].settled, what="the verdict")
    since = checker.report()[0].since
    before = server.asked[DSN]
    checker.again([DSN])

    def is_asked() -> bool:
        seen.update((each.verdict, each.settled) for each in checker.report())
        return server.asked[DSN] >= before + 3

    eventually(is_asked, what="three more answers")
    assert seen == {("accepted", True)}
    assert checker.report()[0].since == since
    server.answer = "denied"
    eventually(lambda: checker.asked_at(DSN) is not None, what="the end of the check")
    checker.again([DSN])
    eventually(lambda: checker.report()[0].verdict == "rejected_once", what="a denial")
    checker.again([DSN])  # the check still runs: no second one begins
    eventually(lambda: checker.report()[0].verdict == "rejected", what="the verdict")
    since = checker.report()[0].since
    server.answer = "none"
    before = server.asked[DSN]
    checker.again([DSN])
    eventually(lambda: server.asked[DSN] > before, what="a check without an answer")
    eventually(lambda: checker._cases[DSN].next_at is None, what="the end of the check")
    report = checker.report()[0]
    assert (report.verdict, report.since) == ("rejected", since)
    server.answer = "good"
    checker.again([DSN])
    eventually(lambda: checker.report()[0].verdict == "accepted", what="the mended key")
    checker.retain([])


def test_a_glitchtip_that_nobody_named_is_asked_once() -> None:
    """Its answer to a wrong key shows what it is."""
    server = Server("final")
    checker = Checker(QUICK, server)
    checker.again([DSN])
    eventually(lambda: bool(checker.report()), what="the verdict")
    assert checker.report()[0].verdict == "rejected"
    checker.again([DSN])
    assert server.asked[DSN] == 1
    checker.retain([])
