"""A poll that finds nothing new: what it leaves alone, and what it still notices."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from vandals import DSN, VANDALS, a_pass, generation, shape

from agent.daemon import Daemon
from agent.domain import judge as judging
from agent.domain.candidate import Candidate
from agent.domain.judge import Judge
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.domain.validate import Validated, validate
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.following import FINISHED_SECONDS, UNFINISHED_SECONDS, Following
from agent.observe.metrics import Metrics
from agent.passing import Passing
from agent.pipeline import Pipeline, Reading
from agent.publish import seal as sealing
from agent.publish.memory import STATE
from agent.record import Record
from agent.schedule import Schedule
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from agent.parts import Parts
    from agent.settings import Settings
    from resentry.contract import Receipt

OPENED: list[str] = []
_IS_ON = threading.local()


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and getattr(_IS_ON, "now", False):
        OPENED.append(str(args[0]))


sys.addaudithook(_note)


def opened(call: Callable[[], object]) -> list[str]:
    """Return the files and directories that a call of this thread opens."""
    OPENED.clear()
    _IS_ON.now = True
    try:
        call()
    finally:
        _IS_ON.now = False
    return list(OPENED)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "volume"


@pytest.fixture
def settled(
    parts: Callable[..., Parts], shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> Pipeline:
    """A pipeline that has published, and whose passes find nothing to do."""
    monkeypatch.setattr(sealing, "QUIET_SECONDS", 0.02)
    shelf.values = {"SENTRY_DSN": f"{DSN}1", "SENTRY_RELEASE": "1"}
    pipeline = Pipeline(parts())
    assert a_pass(pipeline).kind == "published"
    settle(pipeline)
    return pipeline


def settle(pipeline: Pipeline) -> None:
    eventually(lambda: not opened(lambda: a_pass(pipeline)), what="a pass without work")


def test_a_pass_that_finds_nothing_new_opens_no_file(settled: Pipeline) -> None:
    """The times of the volume's files decide; the outcome is the one of a whole pass."""
    before = settled.known
    outcomes: list[Any] = []
    assert opened(lambda: outcomes.append(a_pass(settled))) == []
    assert outcomes[0].kind == "unchanged"
    assert outcomes[0].revision == before.current.revision  # type: ignore[union-attr]
    assert settled.known.current is before.current


@pytest.mark.parametrize("vandal", VANDALS.values(), ids=VANDALS)
def test_whatever_others_do_to_a_settled_volume_is_repaired(
    settled: Pipeline, directory: Path, vandal: Callable[[Path], Any]
) -> None:
    """What is only stat'ed must show every change that reading it would show."""
    before = shape(directory)
    vandal(directory)
    a_pass(settled)
    assert shape(directory) == before


def test_the_content_counts_again_after_a_while(
    settled: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, a file can be changed through a mapping without any time."""
    soon = time.monotonic() + sealing.TRUST_SECONDS
    monkeypatch.setattr(sealing.time, "monotonic", lambda: soon)
    assert opened(lambda: a_pass(settled))


def test_a_file_that_changed_just_now_is_not_trusted(
    settled: Pipeline, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change again within one tick of the clock that its time is taken from."""
    monkeypatch.setattr(sealing, "QUIET_SECONDS", 3600.0)
    os.utime(generation(directory) / "settings.json")
    a_pass(settled)
    assert opened(lambda: a_pass(settled))


def test_a_replaced_directory_is_still_removed(
    settled: Pipeline, directory: Path, shelf: Any
) -> None:
    """Until then no pass is without work."""
    old = generation(directory)
    shelf.values = {"SENTRY_DSN": f"{DSN}2"}
    a_pass(settled)
    a_pass(settled)
    assert opened(lambda: a_pass(settled))
    os.utime(old, (1, 1))
    settle(settled)
    assert not old.exists()


def test_a_restart_settles_as_well(
    settled: Pipeline, parts: Callable[..., Parts]
) -> None:
    settle(Pipeline(parts()))
    assert settled.known.current is not None


def test_a_boost_is_work_until_it_has_ended(settled: Pipeline, shelf: Any) -> None:
    """Time ends it, and no file says when."""
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 600))
    boost = f'[{{"id": "b", "traces": 0.5, "until": "{until}"}}]'
    shelf.values |= {"RESENTRY_BOOSTS": boost}
    assert a_pass(settled).kind == "published"
    for _ in range(3):
        time.sleep(0.03)
        assert opened(lambda: a_pass(settled))


def test_a_candidate_is_judged_once(
    monkeypatch: pytest.MonkeyPatch, parts: Any
) -> None:
    """And again if anything that the judgement depends on is another thing."""
    judged: list[object] = []

    def count(*given: Any) -> Validated:
        judged.append(given)
        return validate(*given)

    monkeypatch.setattr(judging, "validate", count)
    judge = Judge(parts().settings.guard_rails)
    candidate = Candidate({"SENTRY_DSN": f"{DSN}1"}, {"SENTRY_DSN": {"path": "a"}})
    first = judge.judge(candidate, None, 1.0).snapshot
    again = judge.judge(candidate, first, 2.0).snapshot
    assert again is first
    assert judge.judge(candidate, first, 3.0).snapshot is first
    assert len(judged) == 2
    moved = Candidate(candidate.values, {"SENTRY_DSN": {"path": "b"}})
    assert judge.judge(moved, first, 4.0).snapshot.provenance["SENTRY_DSN"] == {
        "path": "b"
    }
    assert len(judged) == 3


class Counted:
    """Receipts that are counted when they are read."""

    def __init__(self) -> None:
        self.reads = 0
        self.found: Rollout = assess([], None, late=False)
        self.meanwhile: Callable[[], object] = lambda: None

    def rollout(self, *_: object, **__: object) -> Rollout:
        self.reads += 1
        self.meanwhile()
        return self.found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("agent.following.time.monotonic", lambda: now[0])
    return now


def test_receipts_are_read_when_they_may_say_something_new(
    settings: Callable[..., Settings], clock: list[float]
) -> None:
    """After an event, after a publication, and else after a time."""
    receipts: Any = Counted()
    known = Known(published_at=1000.0)
    following = Following(receipts, settings(confirm_seconds=30), known)
    following.changed()
    first = following.look(known)
    assert receipts.reads == 2
    clock[0] += FINISHED_SECONDS - 1
    assert following.look(known) is first
    assert receipts.reads == 2
    receipts.found = assess([], None, late=False)
    following.changed()
    assert following.look(known) is first  # it is equal
    assert receipts.reads == 3
    following.look(Known(published_at=1001.0))
    assert receipts.reads == 4
    clock[0] += FINISHED_SECONDS
    following.look(Known(published_at=1001.0))
    assert receipts.reads == 5
    assert following.again_at == clock[0] + FINISHED_SECONDS
    clock[0] = 1029.0
    following.look(Known(published_at=1001.0))
    assert following.again_at == 1031.0  # the targets are late then


def test_without_a_watch_receipts_are_read_each_second(
    settings: Callable[..., Settings], clock: list[float]
) -> None:
    following = Following(Counted(), settings(), Known())  # type: ignore[arg-type]
    following.look(Known())
    assert following.again_at == clock[0] + UNFINISHED_SECONDS


def test_a_receipt_that_changes_while_others_are_read_is_not_missed(
    settings: Callable[..., Settings], clock: list[float]
) -> None:
    receipts: Any = Counted()
    following = Following(receipts, settings(), Known())
    following.changed()
    receipts.meanwhile = following.changed
    following.look(Known())
    receipts.meanwhile = lambda: None
    following.look(Known())
    following.look(Known())
    assert receipts.reads == 3
    assert clock


def test_all_passes_have_one_thread() -> None:
    """The first one starts it."""
    threads: list[int] = []
    ends = threading.Semaphore(0)

    class Reads:
        def read(self, *_: object, **__: object) -> Reading:
            threads.append(threading.get_ident())
            return Reading()

    class Source:
        def abort(self) -> None:
            """Nothing runs."""

        close = abort

    reads, source, nothing = Reads(), Source(), None
    passing = Passing(reads, 5, lambda *_: ends.release())  # type: ignore[arg-type]
    for _ in range(3):
        passing.start()
        assert ends.acquire(timeout=5)
        passing.finish(nothing)  # type: ignore[arg-type]
    assert len(threads) == 3
    assert len({*threads}) == 1
    assert passing.leave(source)  # type: ignore[arg-type]
    (thread,) = {*threads}
    assert thread not in {each.ident for each in threading.enumerate()}


@pytest.fixture
def schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Schedule, list[float]]]:
    made = Schedule(100, lambda: None)
    planned: list[float] = []
    plan = made._plan

    def note(seconds: float) -> None:
        planned.append(seconds)
        plan(seconds)

    monkeypatch.setattr(made, "_plan", note)
    yield made, planned
    made.stop()


@pytest.mark.parametrize(
    ("ahead", "plans"),
    [(79.0, 0), (99.0, 0), (40.0, 1), (-5.0, 1), (3600.0, 1)],
    ids=["fresh", "fresh and long", "another pass came between", "over", "a jump"],
)
def test_the_plan_that_stands_is_not_made_again(
    schedule: tuple[Schedule, list[float]], ahead: float, plans: int
) -> None:
    """To make it wakes APScheduler's thread. A clock that jumped makes it void."""
    made, planned = schedule
    made._plan(ahead)
    planned.clear()

    class Good:
        retry_soon = False

    before = time.time()
    at = made.passed(Good(), 0, None)  # type: ignore[arg-type]
    assert len(planned) == plans
    assert 70 < at - before < 101


def test_a_pass_that_changed_times_alone_is_saved_seldom(
    parts: Callable[..., Parts], shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next agent, and `status` without one, may see times that are ten seconds old."""
    made = parts()
    shelf.values = {"SENTRY_DSN": f"{DSN}1"}
    pipeline = Pipeline(made)
    outcome = a_pass(pipeline)
    record = Record(made.volume, time.monotonic())
    rollout = assess([], None, late=False)
    view = record.first_view(pipeline.known, rollout, {})
    written: list[str] = []
    monkeypatch.setattr(
        made.volume, "keep", lambda name, _body, **_: written.append(name)
    )
    for second in range(3):
        passes = view.passes.after(outcome, Moment(second, second), 0.1)
        view = replace(view, passes=passes, next_pass_at=second)
        record.save_pass(view)
    assert written == [STATE]
    record.save_pass(replace(view, source={"token_ends_at": "soon"}))
    assert written == [STATE] * 2
    later = time.monotonic() + 11
    monkeypatch.setattr("agent.record.time.monotonic", lambda: later)
    record.save_pass(replace(view, source={"token_ends_at": "soon"}))
    assert written == [STATE] * 3


def test_a_removed_volume_makes_no_seal(tmp_path: Path) -> None:
    seal = sealing.Seal(str(tmp_path / "gone"), str(tmp_path / "receipts"))
    seal.take(seal)
    assert not seal.holds(seal)


@pytest.mark.server
def test_an_idle_daemon_wakes_seldom_and_turns_twice_for_a_poll(
    parts: Callable[..., Parts], shelf: Any, tmp_path: Path
) -> None:
    """Once to start the pass, and once to take in what it read."""
    shelf.values = {"SENTRY_DSN": f"{DSN}1"}
    off = {"http_listen": "off", "probes_listen": "off"}
    made = parts(**off, control=str(tmp_path / "control"), poll_seconds=3600)
    daemon = Daemon(made, "1")
    waits: list[float] = []
    turn = daemon._loop.turn

    def note(until: float) -> None:
        waits.append(until - time.monotonic())
        turn(until)

    daemon._loop.turn = note  # type: ignore[method-assign]
    thread = threading.Thread(target=daemon.run)
    thread.start()
    try:
        idle = FINISHED_SECONDS - 1
        eventually(lambda: waits and waits[-1] > idle, what="a daemon that waits")
        before, ended = len(waits), daemon.view.passes.ended_at
        daemon.poll()
        eventually(lambda: daemon.view.passes.ended_at > ended, what="a pass")
        eventually(lambda: waits[-1] > 0, what="the next wait")
        assert len(waits) - before <= 3
    finally:
        daemon.stop()
        thread.join(10)


CALLS_OF_A_POLL = 180
"""So many functions in Python the loop may call for a poll that finds nothing new."""


@pytest.mark.server
def test_the_loop_calls_few_functions_for_a_poll(
    parts: Callable[..., Parts],
    shelf: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call costs CPU time in every pod. Their number is the same on each machine."""
    monkeypatch.setattr(sealing, "QUIET_SECONDS", 0.02)
    shelf.values = {"SENTRY_DSN": f"{DSN}1"}
    off = {"http_listen": "off", "probes_listen": "off"}
    made = parts(**off, control=str(tmp_path / "control"), poll_seconds=0.1)
    daemon = Daemon(made, "1")
    calls: list[int] = [0]
    """The calls of each poll. The last number is that of the poll that goes on."""

    def note(frame: FrameType, event: str, _argument: object) -> None:
        calls[-1] += event == "call"
        if event == "call" and frame.f_code is Record.save_pass.__code__:
            calls.append(0)

    def run() -> None:
        sys.setprofile(note)
        daemon.run()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        eventually(lambda: len(calls) > 20, what="some polls")
    finally:
        daemon.stop()
        thread.join(10)
    # A poll costs more if the state file is written, or the receipts are read.
    assert statistics.median(calls[10:-1]) <= CALLS_OF_A_POLL


def test_metrics_are_drawn_when_they_are_asked_for(
    receipt: Callable[..., Receipt], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What receipts count is added up before: a process may be gone by then."""
    metrics = Metrics("1")
    drawn: list[object] = []
    show = metrics._source.show
    monkeypatch.setattr(
        metrics._source, "show", lambda report: drawn.append(report) or show(report)
    )

    def view(*tallies: int, **more: Any) -> View:
        made = [receipt(id=f"{n:016x}", tally={"sent": n}) for n in tallies]
        targets = [LiveTarget(each, 0) for each in made]
        rollout = assess(targets, None, late=False)
        return View(Known(), Passes(0.0), 0.0, rollout, **more)

    first = view(source={"kind": "vault"})
    metrics.show(first)
    metrics.show(replace(first, source={"kind": "files"}))
    assert len(drawn) == 1
    assert b'resentry_source_info{kind="files"} 1.0' in metrics.render()
    metrics.show(view(1, source={"kind": "files"}))
    metrics.show(view(source={"kind": "files"}))
    assert len(drawn) == 4
    assert b'resentry_targets_started_total{role="api"} 1.0' in metrics.render()
