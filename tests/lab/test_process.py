"""The lab starts and ends processes without leaving any behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from lab.process import Process, eventually, free_port, listens

pytestmark = pytest.mark.process


SLEEPS = ["sleep", "60"]


def runs(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_stopped_process_leaves_no_child_and_no_folder() -> None:
    """A child in the background dies with its process, and the log's folder goes."""
    with Process(["sh", "-c", "sleep 60 & echo $!; wait"]) as process:
        child = int(eventually(process.log_text, what="the child's pid"))
        folder = process.log.parent
        assert runs(child)
    eventually(lambda: not runs(child), within=5, what="the child is gone")
    assert not folder.exists()
    assert process.log_text() == f"{child}\n"


def test_a_process_dies_with_the_one_that_started_it(tmp_path: Path) -> None:
    """SIGKILL for the parent is SIGKILL for what it started."""
    code = (
        "from lab.process import Process; import pathlib, signal, sys;"
        "child = Process(['sleep', '60'], log=pathlib.Path(sys.argv[1]));"
        "print(child.start().pid, flush=True); signal.pause()"
    )
    log = tmp_path / "log"
    with Process([sys.executable, "-c", code, log]) as parent:
        child = int(eventually(parent.log_text, what="the child's pid"))
        assert runs(child)
        parent.signal(signal.SIGKILL)
        eventually(lambda: not runs(child), within=5, what="the child is gone")


def test_the_environment_is_exact_and_signals_are_default() -> None:
    """A process sees its `env` and nothing else, and ignores no signal."""
    script = "env | sort; grep SigIgn /proc/self/status"
    with Process(["/bin/sh", "-c", script], env={"ONLY": "this"}) as process:
        eventually(lambda: not process.alive, what="its end")
        lines = process.log_text().splitlines()
    # The shell itself adds PWD; what Python would add or ignore must not be there.
    environ = [
        line for line in lines[:-1] if not line.startswith(("PWD=", "_=", "SHLVL="))
    ]
    ignored = int(lines[-1].removeprefix("SigIgn:"), 16)
    libcs_own = 1 << 31 | 1 << 32  # signals 32 and 33

    assert environ == ["ONLY=this"]
    assert ignored & ~libcs_own == 0


def test_an_early_end_is_told_with_its_log() -> None:
    """A process that dies before it is ready raises, showing what it said."""
    command = ["sh", "-c", "echo no such luck; exit 3"]
    with pytest.raises(RuntimeError, match=r"sh: ended with 3\nno such luck"):
        Process(command, ready=lambda: False).__enter__()


def test_a_process_that_is_never_ready_is_ended() -> None:
    """Being late raises, and the process does not run on."""
    process = Process(SLEEPS, ready=lambda: False, within=0.1)
    with pytest.raises(TimeoutError, match=r"sleep: not ready within 0\.1 s"):
        process.__enter__()
    assert process.returncode == -signal.SIGKILL


def test_a_paused_process_can_be_stopped() -> None:
    """SIGTERM reaches a process that SIGSTOP has paused."""
    with Process(SLEEPS) as process:
        process.pause()
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: ") T " in stat.read_text(), what="the pause")
        begin = time.monotonic()
        assert process.stop() == -signal.SIGTERM
        assert time.monotonic() - begin < 5


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    """`stop` has the last word after `within` seconds."""
    command = ["sh", "-c", "trap '' TERM; echo on; while :; do sleep 1; done"]
    with Process(command) as process:
        eventually(process.log_text, what="the trap")
        assert process.stop(within=0.2) == -signal.SIGKILL


def test_a_process_can_be_started_again() -> None:
    """A second start is a new process that writes to the same log."""
    with Process(["sh", "-c", "echo $$; sleep 60"]) as process:
        first = process.pid
        eventually(process.log_text, what="the first line")
        process.kill()
        process.start()
        assert process.alive
        eventually(
            lambda: process.log_text() == f"{first}\n{process.pid}\n",
            what="both lines",
        )


def test_an_unknown_command_is_told_at_once() -> None:
    """A command that does not exist raises FileNotFoundError with its name."""
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        Process(["no-such-command"]).__enter__()


def test_a_free_port_is_free() -> None:
    """Nothing listens on a free port, and it can be bound."""
    port = free_port(neighbours=1)
    assert not listens(port)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with Process(command, ready=lambda: listens(port)):
        assert listens(port)


def test_no_port_is_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens yet, but the first caller may be about to."""
    monkeypatch.setattr("lab.process.PORTS", range(11_000, 11_050))
    ports = [free_port() for _ in range(30)]
    assert len(set(ports)) == 30


def test_a_paused_process_runs_no_thread() -> None:
    """Each thread has stopped when `pause` returns."""
    code = """
import threading

def run():
    while True:
        pass

for _ in range(5):
    threading.Thread(target=run).start()
"""
    with Process([sys.executable, "-c", code]) as busy:
        tasks = Path(f"/proc/{busy.pid}/task")
        eventually(lambda: len(list(tasks.iterdir())) == 6, what="its threads")
        busy.pause()
        states = [stat.read_text().split()[2] for stat in tasks.glob("*/stat")]
        assert states == ["T"] * 6


def test_eventually_names_what_did_not_come() -> None:
    """What was waited for stands in the error."""
    with pytest.raises(TimeoutError, match=r"not within 0\.05 s: the moon"):
        eventually(lambda: False, within=0.05, what="the moon")


def test_a_process_leads_its_own_session() -> None:
    """A process leads a session of its own, so a terminal's Ctrl-C does not reach it."""
    with Process(SLEEPS) as process:
        assert os.getsid(process.pid) == process.pid
