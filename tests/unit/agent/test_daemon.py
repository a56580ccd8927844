"""The daemon, by what it does: its threads, its deadlines, what an operator may ask."""

from __future__ import annotations

import contextlib
import inspect
import pkgutil
import threading
import time
from collections import defaultdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from living import living
from structlog.testing import capture_logs

import agent as package
from agent.confirm.receipts import Receipts
from agent.daemon import Daemon
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.errors import SourceDown, WishRefused
from agent.passing import Passing
from agent.pipeline import Reading
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.parts import Parts
    from resentry.contract import Receipt, Snapshot

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


def values(project: int, **more: Any) -> dict[str, Any]:
    return {"SENTRY_DSN": f"https://{KEY}@sentry.example.org/{project}", **more}


@pytest.fixture
def daemon(
    parts: Callable[..., Parts], tmp_path: Path
) -> Iterator[Callable[..., Daemon]]:
    """Run a daemon in a thread of its own; it is stopped after the test."""
    running: list[tuple[Daemon, threading.Thread]] = []

    def make(**settings: Any) -> Daemon:
        control = str(tmp_path / "control" / "socket")
        given = {
            "http_listen": "off",
            "probes_listen": "off",
            "control": control,
            **settings,
        }
        made = Daemon(parts(**given), "1")
        thread = threading.Thread(target=made.run, name="main")
        thread.start()
        running.append((made, thread))
        return made

    yield make
    for made, thread in running:
        made.stop()
        thread.join(10)
        assert not thread.is_alive()


class Hanging:
    """Takes the place of `shelf.read`: hangs in Vault from the second pass on."""

    def __init__(self, shelf: Any) -> None:
        self._read = shelf.read
        self.passes = 0
        self.release = threading.Event()
        shelf.read = self

    def __call__(self, until: float) -> Any:
        self.passes += 1
        candidate = self._read(until)
        if self.passes > 1 and not self.release.is_set():
            self.release.wait(max(0.0, until - time.monotonic()))
            if not self.release.is_set():
                raise SourceDown("no answer in the time that a pass may take")
        return candidate


def project_of(one: Daemon) -> int | None:
    current = one.view.known.current
    return current and int(current.settings["SENTRY_DSN"].rpartition("/")[2])


@pytest.mark.slow
def test_a_rollback_is_answered_while_a_pass_hangs_and_stands_after_it(
    daemon: Callable[..., Daemon], shelf: Any
) -> None:
    """A request waits for no pass, and no pass, however late it ends, undoes it."""
    shelf.values = values(1)
    one = daemon()
    eventually(lambda: project_of(one) == 1, what="the first snapshot")
    shelf.values = values(2)
    one.ask({"command": "refresh"})
    assert project_of(one) == 2
    hanging = Hanging(shelf)
    hanging.passes = 1
    one.poll()
    eventually(lambda: hanging.passes == 2, what="a pass that hangs")

    answer = one.ask({"command": "rollback"})

    assert not hanging.release.is_set()
    assert (answer["outcome"], project_of(one)) == ("published", 1)
    ended = one.view.passes.ended_at
    hanging.release.set()
    eventually(lambda: one.view.passes.ended_at > ended, what="the end of the pass")
    assert project_of(one) == 1
    assert one.ask({"command": "refresh"})["outcome"] == "held"
    assert one.ask({"command": "resume"})["outcome"] == "published"
    assert project_of(one) == 2


def test_every_request_but_refresh_is_answered_while_vault_hangs(
    daemon: Callable[..., Daemon], shelf: Any
) -> None:
    """Also a refusal: nobody waits for Vault to hear no."""
    shelf.values = values(1)
    one = daemon(pass_seconds=60)
    eventually(lambda: project_of(one) == 1, what="the first snapshot")
    hanging = Hanging(shelf)
    hanging.passes = 1
    one.poll()
    eventually(lambda: hanging.passes == 2, what="a pass that hangs")
    boost = {"command": "boost", "traces": 1.0, "seconds": 900}
    (row,) = one.ask(boost)["boosts"]
    assert one.ask({"command": "end", "id": row["id"]})["boosts"] == []
    with pytest.raises(WishRefused, match="no rollback is held"):
        one.ask({"command": "resume"})
    assert hanging.passes == 2
    hanging.release.set()


@pytest.mark.slow
def test_a_pass_that_hangs_ends_at_its_deadline(
    daemon: Callable[..., Daemon], shelf: Any
) -> None:
    """It counts as failed, and the next one comes after a pause."""
    shelf.values = values(1)
    hanging = Hanging(shelf)
    one = daemon(pass_seconds=1, poll_seconds=1)
    eventually(lambda: one.view.passes.failures >= 2, what="two failed passes")
    assert project_of(one) == 1
    hanging.release.set()
    eventually(lambda: one.view.passes.failures == 0, what="a pass that is good")


@pytest.mark.slow
def test_a_refresh_waits_for_a_pass_that_began_after_it(
    daemon: Callable[..., Daemon], shelf: Any
) -> None:
    """The pass that runs may have read before the change that is asked for."""
    shelf.values = values(1)
    one = daemon()
    eventually(lambda: project_of(one) == 1, what="the first snapshot")
    hanging = Hanging(shelf)
    hanging.passes = 1
    one.poll()
    eventually(lambda: hanging.passes == 2, what="a pass that hangs")
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(
        target=lambda: answers.append(one.ask({"command": "refresh"}))
    )
    asking.start()
    shelf.values = values(2)
    hanging.release.set()
    asking.join(10)
    assert (answers[0]["outcome"], project_of(one)) == ("published", 2)
    assert hanging.passes >= 3


def test_polls_that_come_while_a_pass_runs_become_one(shelf: Any) -> None:
    """However many ask, one pass follows the one that runs."""
    shelf.values = values(1)
    hanging, ends = Hanging(shelf), threading.Semaphore(0)
    hanging.passes = 1

    class Reads:
        def read(
            self, until: float, *, forget_backoff: bool, accept_older: bool
        ) -> Reading:
            assert not forget_backoff
            assert not accept_older
            shelf.read(until)
            return Reading()

    reads: Any = Reads()
    passing = Passing(reads, 30, lambda _reading, _began: ends.release())
    for _ in range(10):
        passing.start()
    hanging.release.set()
    outcome: Any = None
    for _ in range(2):
        assert ends.acquire(timeout=5)
        passing.finish(outcome)
    assert not passing.is_running
    assert hanging.passes == 3


def runs_everywhere(
    monkeypatch: pytest.MonkeyPatch, receipt: Callable[..., Receipt]
) -> None:
    """Let a process run whatever is published, at once."""

    def rollout(
        _self: object, current: Snapshot | None, _minimum: object, *, late: bool
    ) -> Rollout:
        named = (current.revision, current.sequence) if current else (None, 0)
        runs = receipt(revision=named[0], sequence=named[1])
        return assess([LiveTarget(runs, 0)], current, late=late)

    monkeypatch.setattr(Receipts, "rollout", rollout)


@pytest.mark.slow
def test_a_boost_ends_by_itself_without_a_pass(
    daemon: Callable[..., Daemon],
    shelf: Any,
    receipt: Callable[..., Receipt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also while Vault hangs. What follows is confirmed after it was published."""
    runs_everywhere(monkeypatch, receipt)
    shelf.values = values(1)
    one = daemon(poll_seconds=3600)
    eventually(lambda: project_of(one) == 1, what="the first snapshot")
    before = one.view.passes
    one.ask({"command": "boost", "traces": 1.0, "seconds": 1.5})
    current = one.view.known.current
    assert current is not None
    assert len(current.boosts) == 1
    with capture_logs() as lines:
        eventually(
            lambda: not (c := one.view.known.current) or not c.boosts,
            what="the end of it",
        )
    assert one.view.passes is before
    (ended,) = [line for line in lines if line["event"].startswith("published")]
    assert ended["event"].endswith("sequence 3; a boost or a ceiling has ended")
    eventually(lambda: one.view.confirmed_at is not None, what="its confirmation")
    seconds = [event.confirmed_seconds for event in one.view.timeline]
    assert len(seconds) == 3
    assert all(took is not None and took >= 0 for took in seconds)


@pytest.mark.process
def test_a_process_that_is_killed_is_dropped_at_once(
    daemon: Callable[..., Daemon],
    shelf: Any,
    receipt: Callable[..., Receipt],
    tmp_path: Path,
) -> None:
    """Also when every process has confirmed, so that nobody waits for anything."""
    shelf.values = values(1)
    one = daemon(poll_seconds=3600)
    eventually(lambda: project_of(one) == 1, what="the first snapshot")
    current = one.view.known.current
    assert current is not None
    runs = receipt(
        revision=current.revision, sequence=current.sequence, phase="drained"
    )
    with living(tmp_path / "volume" / "receipts", runs):
        eventually(lambda: one.view.rollout.state == "drained", what="the rollout")
        watch = {"receipts"}
        eventually(lambda: watch <= {t.name for t in threading.enumerate()}, what="it")
    eventually(lambda: not one.view.rollout.targets, 2, "the end of the process")
    assert one.view.rollout.ends == {"api": 1}


def test_what_starts_is_logged_and_what_is_published_before_who_follows(
    daemon: Callable[..., Daemon],
    shelf: Any,
    receipt: Callable[..., Receipt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process may confirm while the agent is still publishing."""
    runs_everywhere(monkeypatch, receipt)
    shelf.values = values(1)
    with capture_logs() as lines:
        one = daemon(vault_paths=("secret/data/lms",))
        eventually(lambda: project_of(one) == 1, what="the first snapshot")
        eventually(lambda: one.view.rollout.state == "drained", what="its rollout")
    started, published, followed = [
        line
        for line in lines
        if line["log_level"] == "info" and "receipts are read" not in line["event"]
    ]
    assert (started["event"], started["version"]) == ("agent started", "1")
    assert started["source"] == "http://127.0.0.1:9 secret/data/lms"
    assert started["tuning"] == "off"
    assert started["volume"].endswith("/volume")
    assert (started["http_listen"], started["probes_listen"]) == ("off", "off")
    assert published["event"].startswith("published revision ")
    assert followed["event"] == "1 target: 1 drained"
    assert followed["revision"] == published["revision"]


def test_the_first_pass_waits_by_chance(
    parts: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 0 to the start jitter, each agent its own: a node brings up many at once."""
    asked: list[tuple[float, float]] = []

    def chance(least: float, most: float) -> float:
        asked.append((least, most))
        return 3600.0

    monkeypatch.setattr("agent.daemon.random.uniform", chance)
    monkeypatch.setattr("agent.daemon.SERVICES_SECONDS", 3600.0)
    one = Daemon(parts(start_jitter_seconds=5.0), "1")
    one.stop()
    assert one.run()
    assert asked == [(0, 5.0)]
    assert one.view.passes.outcome is None


# Which thread writes what

GUARDED = {
    "agent.dsn_check.checker.Checker": "a lock of its own",
    "agent.dsn_check.checker._Case": "the lock of its checker",
    "agent.notify.http._Receiver": "a lock of its own",
    "agent.source.tuning.TuningFile": "a lock of its own",
    "agent.source.watch.MountWatch": "a lock of its own",
}
"""Classes whose fields several threads may write, and what guards them."""


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(package.__path__, "agent."):
        if module.name == "agent.__main__":
            continue
        for _, kind in inspect.getmembers(import_module(module.name), inspect.isclass):
            if kind.__module__ == module.name and not issubclass(kind, Exception):
                yield kind


@pytest.fixture
def writers(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], set[str]]:
    """By class and field: the kinds of threads that write it after construction."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind in _classes():
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in GUARDED or "__setattr__" in kind.__dict__:
            continue
        before = kind.__setattr__

        def write(
            self: object,
            field: str,
            value: object,
            *,
            before: Any = before,
            name: str = name,
        ) -> None:
            frame = inspect.currentframe()
            caller = frame.f_back if frame is not None else None
            is_made = caller is not None and caller.f_code.co_name == "__init__"
            if not is_made:
                found[name, field].add(threading.current_thread().name.split("-")[0])
            before(self, field, value)

        with contextlib.suppress(TypeError):  # a class that takes no attributes
            monkeypatch.setattr(kind, "__setattr__", write)
    return found


@pytest.mark.slow
def test_no_field_is_written_by_two_threads(
    writers: dict[tuple[str, str], set[str]],
    daemon: Callable[..., Daemon],
    shelf: Any,
) -> None:
    """Whatever is asked at once: passes, requests, polls, questions, a failing source."""
    shelf.values = values(1)
    one = daemon(poll_seconds=1)
    eventually(lambda: project_of(one) == 1, what="the first snapshot")

    def ask() -> None:
        for number in range(2, 8):
            shelf.values = values(number)
            shelf.error = SourceDown("away") if number % 3 == 0 else None
            one.ask({"command": "refresh"})
            one.ask({"command": "boost", "traces": 1.0, "seconds": 60})
            with contextlib.suppress(WishRefused):
                one.ask({"command": "rollback"})
            with contextlib.suppress(WishRefused):
                one.ask({"command": "resume"})
            one.poll()
            one.read()

    asking = [threading.Thread(target=ask, name=f"control-{n}") for n in range(3)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(60)
    assert writers["agent.daemon.Daemon", "view"] == {"main"}
    assert {key: names for key, names in writers.items() if len(names) > 1} == {}


def test_a_start_without_a_snapshot_is_logged_once(
    daemon: Callable[..., Daemon], shelf: Any
) -> None:
    """When `/startupz` lets applications start, not only in its answer."""
    shelf.error = SourceDown("no Vault")
    with capture_logs() as logs:
        daemon(startup_seconds=0.05, poll_seconds=0.05)

        def lines() -> list[Any]:
            return [line for line in logs if "applications start with" in line["event"]]

        eventually(lines, what="the log line")
    (line,) = lines()
    assert line["log_level"] == "warning"
    assert "RESENTRY_STARTUP_SECONDS" in line["hint"]


def test_a_rollout_without_any_receipt_is_a_warning_after_its_time(
    daemon: Callable[..., Daemon], shelf: Any, tmp_path: Path
) -> None:
    """It names the mounts and the group that an application needs; the metric is 0."""
    shelf.values = values(1)
    with capture_logs() as logs:
        one = daemon(confirm_seconds=0.2)

        def lines() -> list[Any]:
            return [line for line in logs if "has given a receipt" in line["event"]]

        eventually(lines, what="the warning")
    (line,) = lines()
    assert line["log_level"] == "warning"
    assert str(tmp_path / "volume" / "receipts") in line["hint"]
    assert "group" in line["hint"]
    rollout = one.read().rollout
    assert rollout.obstacle
    assert rollout.hint == line["hint"]


@pytest.mark.parametrize("broken", ["_wake_at", "_look", "_start_services"])
def test_a_bug_of_ours_does_not_end_the_daemon(
    daemon: Callable[..., Daemon],
    shelf: Any,
    broken: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is logged, operators are answered, and `stop` still ends it."""

    def fail(_self: Daemon) -> None:
        raise ValueError("a mistake of ours")

    shelf.values = values(1)
    monkeypatch.setattr(Daemon, broken, fail)
    one = daemon()
    assert one.ask({"command": "refresh"})["outcome"] in ("published", "unchanged")
    assert project_of(one) == 1
