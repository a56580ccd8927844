"""The DSN check: what answers mean, when they come, and what is made of them."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest

from agent.domain.dsn_check import (
    Answer,
    Series,
    Times,
    answer_of,
    dsns_of,
    report_of,
)
from agent.dsn_check.checker import Checker
from agent.dsn_check.gate import Gate
from agent.errors import CandidateRefused, CandidateWaits
from lab.process import eventually
from resentry.contract import Snapshot

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
SAME_PROJECT = DSN.replace("c0ffee", "decaf0")
OTHER = DSN.replace("/42", "/43")
TIMES = Times()
"""Five minutes of patience: accepted after 60 s, rejected after 120 s."""
QUICK = Times(1.0)
SHORT = {"g": "good", "d": "denied", "f": "final", "m": "malformed", "l": "limited"}


pytestmark = pytest.mark.server


def series(text: str) -> Series:
    """Read answers with their times, as `g0 g30 -60`; `-` is no answer."""
    found = Series(0.0)
    for one in text.split():
        found = found.add(float(one[1:]), SHORT.get(one[0], "none"), TIMES)
    return found


@pytest.mark.parametrize(
    ("answers", "verdict", "settled"),
    [
        ("", "unknown", False),
        ("-0 -30", "unknown", False),
        ("g0", "accepted_once", False),
        ("g0 g30 g59", "accepted_once", False),
        ("g0 g60", "accepted_once", False),
        ("g0 g30 g60", "accepted", True),
        ("-0 g10 g40 g70", "accepted", True),
        ("g0 g30 -45 g60", "accepted_once", False),
        ("g0 g30 d45 g60 g90", "accepted_once", False),
        ("g0 d45 g60 g90 g120", "accepted", True),
        ("d0", "rejected_once", False),
        ("d0 d60 d119", "rejected_once", False),
        ("d0 d120", "rejected_once", False),
        ("d0 d60 d120", "rejected", True),
        ("d0 -30 d60 -90 d120", "rejected", True),
        ("d0 d60 d120 -150", "rejected", True),
        ("d0 d60 g90 d120 d150", "rejected_once", False),
        ("g0 d60 d120", "rejected_once", False),
        ("f0", "rejected", True),
        ("m0", "config_error", True),
        ("l0", "limited", True),
        ("d0 l30", "limited", True),
        ("g0 -299", "accepted_once", False),
        ("g0 -300", "accepted_once", True),
        ("-0 -300", "unknown", True),
        ("d0 -300", "rejected_once", True),
        ("d0 d60 d120 g300", "accepted_once", False),
        ("d0 d60 d120 g300 g330 g360", "accepted", True),
        ("-0 -310 g320", "accepted_once", False),
    ],
)
def test_a_verdict_needs_several_answers_over_some_time(
    answers: str, verdict: str, *, settled: bool
) -> None:
    """3 good over 60 s in a row, 3 denials over 120 s with nothing good between."""
    found = series(answers)
    now = max((at for at, _ in found.seen), default=0.0)
    assert (verdict, settled) == (found.verdict(TIMES), found.is_settled(now, TIMES))


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ("g0", 30),
        ("d0", 30),
        ("-0", 30),
        ("g0 g30 g60", None),
        ("l0", None),
        ("m0", None),
        ("f0", None),
        ("d0 d60 d120", 300),
        ("-0 -300", 300),
    ],
)
def test_a_settled_dsn_is_left_alone_or_asked_every_five_minutes(
    answers: str, expected: float | None
) -> None:
    """A rejected one may be mended; a wrong or accepted one is not asked again."""
    found = series(answers)
    assert expected == found.pause(found.seen[-1][0], TIMES)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"{}", "good"),
        (403, b"Project not found or key incorrect: ...", "denied"),
        (403, b'{"detail": "Denied"}', "final"),
        (400, b'{"detail": "Invalid DSN"}', "malformed"),
        (400, b"unknown variant `client_report`", "none"),
        (401, b"", "malformed"),
        (429, b"", "limited"),
        *((status, b"", "none") for status in (201, 301, 302, 404, 413, 500, 502, 503)),
    ],
)
def test_what_an_http_answer_means(status: int, body: bytes, expected: str) -> None:
    """Only 200 is good; a redirect, 404 and 5xx say nothing of the key."""
    assert expected == answer_of(status, body)


def test_the_dsns_of_a_snapshot_are_those_of_every_role() -> None:
    """An empty one is none."""
    snapshot = Snapshot(
        {"SENTRY_DSN": DSN},
        roles={"celery": {"SENTRY_DSN": OTHER}, "api": {"SENTRY_DSN": ""}},
    )
    assert dsns_of(snapshot) == {DSN, OTHER}
    assert dsns_of(None) == frozenset()


class Server:
    """Answers requests as told, and remembers when which DSN was asked."""

    def __init__(self, answer: Answer = "good") -> None:
        self.answer: Answer = answer
        self.asked: list[tuple[float, str]] = []
        self.limits: list[float] = []
        self.hold: threading.Event | None = None

    def __call__(self, dsn: str, seconds: float) -> Answer:
        self.asked.append((time.monotonic(), dsn))
        self.limits.append(seconds)
        if self.hold:
            self.hold.wait(20)
        return self.answer


def verdict(checker: Checker) -> str:
    (found,) = checker.report()
    return f"{found.verdict}{' settled' * found.settled}"


def is_over() -> bool:
    return "dsn-check" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("good", "accepted settled"),
        ("limited", "limited settled"),
        ("malformed", "config_error settled"),
    ],
)
def test_a_verdict_settles_by_itself_and_then_nothing_runs(
    answer: Answer, expected: str
) -> None:
    """The thread ends with the last question."""
    checker = Checker(QUICK, Server(answer))
    checker.ask([DSN], (), wait=2)
    eventually(lambda: verdict(checker) == expected, what=expected)
    eventually(is_over, what="the end of the thread")


@pytest.mark.slow
@pytest.mark.parametrize(("chance", "factor"), [(min, 1.0), (max, 1.25)])
def test_a_dsn_is_asked_at_its_pace_and_never_in_step(
    monkeypatch: pytest.MonkeyPatch, chance: Callable[..., float], factor: float
) -> None:
    """A tenth of the patience lies between two checks, and up to a quarter more."""
    monkeypatch.setattr("agent.dsn_check.checker.random.uniform", chance)
    server = Server("denied")
    checker = Checker(QUICK, server)
    checker.ask([DSN], (), wait=2)
    eventually(lambda: verdict(checker) == "rejected settled", what="the verdict")
    gaps = [after[0] - before[0] for before, after in pairwise(server.asked)]
    checker.retain([])
    assert len(gaps) >= 2
    assert min(gaps) >= QUICK.pace * factor


def test_without_haste_a_fleet_does_not_begin_in_step() -> None:
    """The first check comes at any time within the pace."""
    server = Server()
    checkers = [Checker(Times(5.0), server) for _ in range(8)]
    began = time.monotonic()
    for checker in checkers:
        checker.ask([DSN], ())
    eventually(lambda: all(p.report()[0].answers for p in checkers), what="all")
    for checker in checkers:
        checker.retain([])
    waits = sorted(at - began for at, _ in server.asked[:8])
    assert waits[-1] - waits[0] > 0.05


def test_a_hanging_server_is_waited_for_no_longer_than_told() -> None:
    """The first check has that time, too; the verdict settles afterwards."""
    server = Server()
    server.hold = threading.Event()
    checker = Checker(QUICK, server)
    began = time.monotonic()
    (found,) = checker.ask([DSN], (), wait=0.2)
    assert 0.15 < time.monotonic() - began < 1
    assert (found.verdict, found.answers, server.limits) == ("unknown", 0, [0.2])
    server.hold.set()
    eventually(lambda: verdict(checker) == "accepted settled", what="the verdict")
    assert set(server.limits[1:]) == {5.0}


def test_a_dsn_that_comes_and_goes_is_asked_no_more_often() -> None:
    """A source that flaps makes no flood: pace and verdict outlive the absence."""
    server = Server()
    checker = Checker(Times(300.0), server)
    checker.ask([DSN], (), wait=2)
    for _ in range(20):
        checker.retain([OTHER])
        assert checker.report() == ()
        checker.retain([])
        checker.ask([DSN], (), wait=0.05)
    assert len(server.asked) == 1
    checker.retain([])


def test_a_verdict_that_is_known_is_not_asked_for_again() -> None:
    """Back within the patience, an accepted DSN is accepted at once."""
    server = Server()
    checker = Checker(QUICK, server)
    checker.ask([DSN], (), wait=2)
    eventually(lambda: verdict(checker) == "accepted settled", what="the verdict")
    asked = len(server.asked)
    checker.retain([])
    (found,) = checker.ask([DSN], (), wait=2)
    assert (found.verdict, len(server.asked)) == ("accepted", asked)


@pytest.mark.slow
def test_a_dsn_that_comes_back_without_a_verdict_begins_anew() -> None:
    """The time in which it was away does not use its patience up."""
    server = Server()
    server.hold = threading.Event()
    checker = Checker(QUICK, server)
    began = time.monotonic()
    checker.ask([DSN], (), wait=0.1)
    eventually(lambda: time.monotonic() > began + 0.7, what="some patience gone")
    server.hold.set()
    eventually(lambda: checker.report()[0].answers == 1, what="the answer")
    checker.retain([])
    eventually(lambda: time.monotonic() > began + 1.1, what="no patience left")
    (found,) = checker.ask([DSN], ())
    checker.retain([])
    assert (found.verdict, found.settled) == ("unknown", False)


def test_nobody_is_asked_for_a_dsn_that_is_not_wanted_any_more() -> None:
    """What the source took back is dropped, and the thread ends."""
    server = Server()
    checker = Checker(Times(300.0), server)
    checker.ask([DSN], (), wait=2)
    checker.retain([])
    eventually(is_over, what="the end of the thread")


def test_a_check_that_raises_is_no_answer() -> None:
    """A mistake of ours neither ends the thread nor is a verdict."""

    def broken(_dsn: str, _seconds: float) -> Answer:
        raise RuntimeError(DSN)

    checker = Checker(QUICK, broken)
    (found,) = checker.ask([DSN], (), wait=2)
    checker.retain([])
    assert (found.verdict, found.answers) == ("unknown", 1)


def test_glitchtip_is_not_asked_for_a_project_in_use() -> None:
    """A wrong key would block the keys that work; another project is asked."""
    server = Server()
    checker = Checker(QUICK, server, is_glitchtip=True)
    found = checker.ask([SAME_PROJECT, OTHER], [DSN], wait=2)
    checker.retain([])
    said = {one.dsn: one.verdict for one in found}
    assert sorted(said.values()) == ["accepted_once", "skipped"]
    assert {dsn for _, dsn in server.asked} == {OTHER}


def test_glitchtip_is_not_asked_again_after_a_denial() -> None:
    """Each wrong key blocks the project for half a minute: one is enough."""
    server = Server("final")
    checker = Checker(QUICK, server)
    checker.ask([DSN], (), wait=2)
    assert verdict(checker) == "rejected settled"
    eventually(is_over, what="the end of the thread")
    assert len(server.asked) == 1


def snapshot(dsn: str) -> Snapshot:
    return Snapshot({"SENTRY_DSN": dsn})


def judged(gate: Gate, candidate: Snapshot, last_good: Snapshot) -> str | None:
    """Return the error's name with which the gate stops a candidate, if it does."""
    try:
        gate.admit(candidate, "f" * 12, last_good, last_good)
    except (CandidateWaits, CandidateRefused) as error:
        is_safe = KEY not in error.what and error.fingerprint == "f" * 12
        return type(error).__name__ if is_safe else "it tells the key"
    return None


def test_a_refusal_says_what_to_do_about_its_verdict() -> None:
    """A server that cannot be reached is not mended at the source."""
    silent = Series(0.0).add(1.0, "none", TIMES)
    bad = Series(0.0).add(1.0, "malformed", TIMES)
    reports = {
        dsn: report_of(dsn, series, TIMES.patience, TIMES, 0.0, "no route")
        for dsn, series in ((DSN, silent), (OTHER, bad))
    }
    checker = Mock(idle_seconds=0, ask=lambda dsns, *_: [reports[d] for d in dsns])
    for dsn, hint in ((DSN, "no proxy"), (OTHER, "correct SENTRY_DSN at the source")):
        with pytest.raises(CandidateRefused) as refused:
            Gate(checker, "enforce").admit(snapshot(dsn), "f" * 12, None, None)
        assert hint in refused.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "before", "after"),
    [
        ("good", "CandidateWaits", None),
        ("limited", "CandidateWaits", None),
        ("denied", "CandidateWaits", "CandidateRefused"),
        ("malformed", "CandidateWaits", "CandidateRefused"),
        ("none", "CandidateWaits", "CandidateRefused"),
    ],
)
def test_enforce_waits_for_the_verdict(
    answer: Answer, before: str, after: str | None
) -> None:
    """Accepted or limited passes; rejected, wrong, or unknown to the end is refused."""
    server = Server(answer)
    server.hold = threading.Event()
    gate = Gate(Checker(Times(2.0), server), "enforce")
    assert before == judged(gate, snapshot(OTHER), snapshot(DSN))
    server.hold.set()
    eventually(lambda: gate.report()[0].settled, what="the verdict")
    assert after == judged(gate, snapshot(OTHER), snapshot(DSN))
    gate.retain(None)


@pytest.mark.parametrize("enforce", [True, False])
def test_what_is_published_is_not_checked(*, enforce: bool) -> None:
    """Neither as the settings' DSN nor as a role's, wherever it stood before."""
    server = Server("denied")
    gate = Gate(Checker(QUICK, server), "enforce" if enforce else "warn")
    both = Snapshot({"SENTRY_DSN": DSN}, roles={"celery": {"SENTRY_DSN": OTHER}})
    assert judged(gate, snapshot(OTHER), both) is None
    assert gate.glance(snapshot(OTHER), both) == ()
    assert server.asked == []


def test_warn_passes_and_says_what_it_saw() -> None:
    """An accepted DSN needs no note; a denied one has its host, not its key."""
    gate = Gate(Checker(QUICK, Server("denied")), "warn")
    assert judged(gate, snapshot(OTHER), snapshot(DSN)) is None
    (note,) = gate.glance(snapshot(OTHER), snapshot(DSN), 5.0)
    assert "sentry.example.org/43 (key …ee00)" in note
    assert "403" in note
    gate.retain(None)
    good = Gate(Checker(QUICK, Server()), "warn")
    assert good.glance(snapshot(OTHER), snapshot(DSN), 5.0) == ()
    good.retain(None)


def test_a_candidate_that_was_taken_back_is_not_reported() -> None:
    """Its bad verdict would stand in metrics and status for ever."""
    gate = Gate(Checker(QUICK, Server("denied")), "enforce")
    judged(gate, snapshot(OTHER), snapshot(DSN))
    gate.retain(snapshot(DSN))
    assert len(gate.report()) == 1
    judged(gate, snapshot(DSN), snapshot(DSN))
    gate.retain(snapshot(DSN))
    assert gate.report() == ()


def test_changes_are_told(monkeypatch: Any) -> None:
    """Whoever listens hears of each answer."""
    heard = threading.Event()
    checker = Checker(QUICK, Server())
    monkeypatch.setattr(checker, "changed", heard.set)
    checker.ask([DSN], ())
    assert heard.wait(5)
    checker.retain([])
