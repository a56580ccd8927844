"""The real-time signal, at real processes: no one else ever gets it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agent.domain.rollout import Target
from agent.notify.signal import Signals
from resentry.contract import Receipt
from resentry.receipt import start_time

NUMBER = signal.SIGRTMIN + 6
_CHILD = """
import signal, sys
if sys.argv[1] == "listens":
    signal.signal(int(sys.argv[2]), lambda *_: print("got it", flush=True))
print("ready", flush=True)
for line in sys.stdin:
    print("alive", flush=True)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process that listens to a signal, or does not."""
    started = []

    def start(how: str = "listens", number: int = NUMBER) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, how, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        assert line(child) == "ready"
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout
    return child.stdout.readline().strip()


def is_left_alone(child: subprocess.Popen[str]) -> bool:
    """Tell whether the child lives and has got nothing."""
    assert child.stdin
    child.stdin.write("\n")
    child.stdin.flush()
    return line(child) == "alive"


@pytest.fixture
def target(receipt: Callable[..., Receipt]) -> Callable[..., Target]:
    """Make the target that a child is, with these fields changed."""

    def make(
        child: subprocess.Popen[str], uid: int | None = None, **more: Any
    ) -> Target:
        given = {
            "pid": child.pid,
            "start_time": start_time(child.pid),
            "signal": NUMBER,
            **more,
        }
        return Target(receipt(**given), os.geteuid() if uid is None else uid)

    return make


def notify(target: Target) -> str:
    return Signals().notify([target])[target.receipt.id]


def test_a_process_that_listens_gets_it(start: Start, target: Any) -> None:
    """The one that asked, and still is that one, is told."""
    child = start()
    assert notify(target(child)) == "sent"
    assert line(child) == "got it"
    assert is_left_alone(child)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"signal": None}, "not registered"),
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
    """Another number, namespace, start time, owner or handler: nothing is sent."""
    child = start()
    assert expected == notify(target(child, **changed))
    assert is_left_alone(child)


def test_a_process_without_a_handler_is_left_alone(start: Start, target: Any) -> None:
    """A real-time signal without a handler would end it."""
    child = start("does not listen")
    assert notify(target(child)) == "gone"
    assert is_left_alone(child)


@pytest.mark.parametrize("pid", [0, -1, 2**22 + 1, 10**30])
def test_a_pid_of_nobody_is_gone(start: Start, target: Any, pid: int) -> None:
    """A forged pid never reaches a process group, nor ends the agent."""
    child = start()
    assert notify(target(child, pid=pid)) == "gone"
    assert is_left_alone(child)


def test_a_dead_process_is_gone(start: Start, target: Any) -> None:
    """Whoever has ended since its receipt is no error."""
    child = start()
    dead = target(child)
    child.kill()
    child.wait()
    assert notify(dead) == "gone"


def test_each_target_has_its_own_result(start: Start, target: Any) -> None:
    """One that is gone does not keep the next from being told."""
    one, two = start(), start()
    targets = [target(one, id="a" * 16, start_time=1), target(two, id="b" * 16)]
    assert Signals().notify(targets) == {"a" * 16: "gone", "b" * 16: "sent"}
    assert line(two) == "got it"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_another_user_s_process_is_tried_once(start: Start, python: Any) -> None:
    """EPERM switches the channel off for that target; the agent goes on."""
    child = start()
    script = """
        import os, sys
        from agent.domain.rollout import Target
        from agent.notify.signal import Signals
        from resentry.contract import Receipt

        os.setuid(65534)
        pid, number, started = map(int, sys.argv[1:])
        space = os.stat("/proc/self/ns/pid").st_ino
        receipt = Receipt(id="a" * 16, role="api", pid=pid, pidns=space,
                          start_time=started, signal=number)
        signals = Signals()
        for _ in range(2):
            print(signals.notify([Target(receipt, 0)])["a" * 16])
    """
    ran = python(script, child.pid, NUMBER, start_time(child.pid))
    assert ran.stdout.splitlines() == ["not permitted"] * 2, ran.stderr
    assert is_left_alone(child)
