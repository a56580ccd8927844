"""The real-time signal, at real processes: no other thread ever gets it."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.domain.rollout import LiveTarget
from agent.notify import signal as notify_signal
from agent.notify.signal import Signals
from resentry.contract import Receipt
from resentry.receipt_file import start_time

pytestmark = pytest.mark.process


PROGRAMS = Path(__file__).parent / "programs"
NUMBER = signal.SIGRTMIN + 6


class Child:
    """A process, and the thread in it that it would register."""

    def __init__(self, how: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, PROGRAMS / "child.py", how, str(NUMBER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self.process.pid
        self.tid = int(self.line())

    def line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, what: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        return self.line()

    @property
    def is_left_alone(self) -> bool:
        """Whether it lives and has noticed nothing."""
        return self.ask("say") == "alive"

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start() -> Iterator[Callable[..., Child]]:
    """Start a process whose thread hears the signal, or one that only has a handler."""
    started = []

    def start(how: str = "hears") -> Child:
        started.append(Child(how))
        return started[-1]

    yield start
    for child in started:
        child.end()


Start = Callable[..., Child]


@pytest.fixture(params=["pidfd", "tgkill", "syscall"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in turn: a new kernel, an older one, an older one with an old glibc."""
    name: str = request.param
    if name != "pidfd":
        _without_pidfd(monkeypatch)
    if name == "syscall":
        if os.uname().machine not in notify_signal._SYS_TGKILL:
            pytest.skip("the number of the call on this machine is not known")
        libc = ctypes.CDLL(None, use_errno=True)
        only = SimpleNamespace(syscall=libc.syscall)
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: only)
    return name


def _without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int, _flags: int = 0) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "pidfd_open", refuse)


@pytest.fixture
def target(receipt: Callable[..., Receipt]) -> Callable[..., LiveTarget]:
    """Make the target that a child is, with these fields changed."""

    def make(child: Child, uid: int | None = None, **more: Any) -> LiveTarget:
        given = {
            "pid": child.pid,
            "start_time": start_time(child.pid),
            "signal": NUMBER,
            "tid": child.tid,
            **more,
        }
        return LiveTarget(receipt(**given), os.geteuid() if uid is None else uid)

    return make


def notify(target: LiveTarget) -> str:
    return Signals().notify([target])[target.receipt.id]


@pytest.mark.usefixtures("way")
def test_the_thread_that_registered_hears_it(start: Start, target: Any) -> None:
    """That one alone: the handler of its process does not run."""
    child = start()
    for _ in range(3):
        assert notify(target(child)) == "sent"
        assert child.line() == "heard"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"signal": None}, "not registered"),
        ({"tid": None}, "not registered"),
        ({"signal": signal.SIGTERM}, "not registered"),
        ({"signal": signal.SIGKILL}, "not registered"),
        ({"signal": 0}, "not registered"),
        ({"signal": -1}, "not registered"),
        ({"signal": signal.SIGRTMAX + 1}, "not registered"),
        ({"signal": signal.SIGRTMIN - 1}, "not registered"),
        ({"signal": 10**30}, "not registered"),
        ({"pidns": 1}, "out of reach"),
        ({"start_time": 1}, "gone"),
        ({"uid": 12345}, "gone"),
        ({"signal": NUMBER + 1}, "gone"),
    ],
)
def test_a_process_that_does_not_match_is_left_alone(
    start: Start, target: Any, changed: dict[str, int | None], expected: str
) -> None:
    """Another number, namespace, start time, owner, no thread: nothing is sent."""
    child = start()
    assert expected == notify(target(child, **changed))
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("how", ["handler", "default"])
def test_a_thread_that_does_not_block_it_is_left_alone(
    start: Start, target: Any, how: str
) -> None:
    """A handler of the application's would run; the default action would end it."""
    child = start(how)
    assert notify(target(child)) == "gone"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
def test_the_main_thread_of_a_process_that_hears_is_left_alone(
    start: Start, target: Any
) -> None:
    """One thread of it blocks the signal; that is not the one which is named."""
    child = start()
    assert notify(target(child, tid=child.pid)) == "gone"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
def test_a_thread_of_another_process_is_left_alone(start: Start, target: Any) -> None:
    """A forged receipt names a thread that hears, but not in its own process."""
    one, two = start(), start()
    assert notify(target(one, tid=two.tid)) == "gone"
    assert one.is_left_alone
    assert two.is_left_alone


@pytest.mark.usefixtures("way")
def test_a_thread_that_has_ended_is_gone(start: Start, target: Any) -> None:
    """Its process goes on, and hears nothing."""
    child = start()
    assert child.ask("end") == "heard"
    assert child.line() == "ended"
    assert notify(target(child)) == "gone"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
def test_a_forked_child_is_left_alone(start: Start, target: Any) -> None:
    """It has the number of its parent's thread, and no thread of that number."""
    child = start()
    forked = int(child.ask("fork"))
    assert notify(target(child, pid=forked, start_time=start_time(forked))) == "gone"
    assert child.is_left_alone
    os.kill(forked, signal.SIGKILL)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("number", [0, -1, 2**22 + 1, 2**32, 10**30])
@pytest.mark.parametrize("name", ["pid", "tid"])
def test_a_number_of_nobody_is_gone(
    start: Start, target: Any, name: str, number: int
) -> None:
    """A forged number never reaches a process group, nor ends the agent."""
    child = start()
    assert notify(target(child, **{name: number})) == "gone"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["pid", "tid"])
def test_a_number_that_is_only_cut_to_a_good_one_is_gone(
    start: Start, target: Any, name: str
) -> None:
    """The kernel's numbers have 32 bits; a receipt's have as many as it likes."""
    child = start()
    assert notify(target(child, **{name: getattr(child, name) + 2**32})) == "gone"
    assert child.is_left_alone


@pytest.mark.usefixtures("way")
def test_a_dead_process_is_gone(start: Start, target: Any) -> None:
    """Whoever has ended since its receipt is no error."""
    child = start()
    dead = target(child)
    child.end()
    assert notify(dead) == "gone"


def test_each_target_has_its_own_result(start: Start, target: Any) -> None:
    """One that is gone does not keep the next from being told."""
    one, two = start(), start()
    targets = [target(one, id="a" * 16, start_time=1), target(two, id="b" * 16)]
    assert Signals().notify(targets) == {"a" * 16: "gone", "b" * 16: "sent"}
    assert two.line() == "heard"


def test_without_any_way_to_a_thread_it_is_out_of_reach(
    start: Start, target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old kernel and a C library without the call are no traceback."""
    _without_pidfd(monkeypatch)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())
    child = start()
    assert notify(target(child)) == "out of reach"
    assert child.is_left_alone


@pytest.mark.parametrize("space", [0, None])
def test_without_a_namespace_to_compare_it_is_out_of_reach(
    start: Start, target: Any, monkeypatch: pytest.MonkeyPatch, space: int | None
) -> None:
    """Without /proc/self/ns/pid nobody is signalled, whatever a receipt says."""
    child, real = start(), os.stat
    given = target(child) if space is None else target(child, pidns=space)

    def stat(path: Any, **more: Any) -> os.stat_result:
        if path == "/proc/self/ns/pid":
            raise FileNotFoundError(path)
        return real(path, **more)

    monkeypatch.setattr(notify_signal.os, "stat", stat)
    assert notify(given) == "out of reach"
    assert child.is_left_alone


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
@pytest.mark.parametrize("kernel", ["new", "old"])
def test_another_user_s_process_is_tried_once(
    start: Start, python: Any, kernel: str
) -> None:
    """EPERM switches the channel off for that target; the agent goes on."""
    child = start()
    numbers = (child.pid, child.tid, NUMBER, start_time(child.pid), kernel == "old")
    ran = python(PROGRAMS / "as_nobody.py", *map(int, numbers))
    assert ran.stdout.splitlines() == ["not permitted"] * 2, ran.stderr
    assert child.is_left_alone
