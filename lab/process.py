"""Which processes the lab runs: started, watched, broken and ended without a trace."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

T = TypeVar("T")

# Below the range from which Linux takes ports for outgoing connections, so that no
# client can occupy the port between the question and the server's bind.
PORTS = range(12_000, 32_000)
PORTS_KEPT = 500
"""So many of its newest ports a lab keeps from the other labs of the machine."""
_kept: deque[int] = deque()
POLL_SECONDS = 0.01
LAST_LOG_LINES = 30

# Popen's preexec_fn would run fork hooks of this process (sentry-sdk has some) and
# warns in programs with threads from Python 3.12 on: the new process arms itself and
# becomes the command. Python ignores two signals and may set LC_CTYPE: both undone.
_LAUNCH = """
import ctypes, os, signal, sys
parent, started, lc_ctype, *args = sys.argv[1:]
os.set_inheritable(int(started), False)
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(parent): sys.exit("the lab is gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
if not lc_ctype: os.environ.pop("LC_CTYPE", None)
os.execvp(args[0], args)
"""


def free_port(neighbours: int = 0) -> int:
    """Return a port of 127.0.0.1 that is free now, and its next `neighbours` too.

    No other lab of this machine returns these ports as long as this one may use them.
    """
    while True:
        first = random.choice(PORTS)
        try:
            for port in range(first, first + neighbours + 1):
                _keep(port)
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _keep(port: int) -> None:
    """Take a name that one process can have; raise OSError if another lab has it."""
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0resentry-lab-port-{port}")
    except OSError:
        name.close()
        raise
    _kept.append(name.detach())
    if len(_kept) > PORTS_KEPT:
        os.close(_kept.popleft())


def listens(port: int) -> bool:
    """Tell whether something accepts connections on that port of 127.0.0.1."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def eventually(
    condition: Callable[[], T | None], within: float = 30.0, what: str = "the condition"
) -> T:
    """Return the first true value of `condition`, asked again and again.

    Raises TimeoutError naming `what` when there is none within that many seconds.
    """
    deadline = time.monotonic() + within
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return value


class Process:
    """One command as a process that cannot outlive this one, nor leave children.

    It leads a session of its own; when it has ended, what is left of its process
    group is killed. The kernel kills it when the *thread* that called `start` ends
    (prctl PR_SET_PDEATHSIG), so start it from a thread that lives long enough.
    Its children are not covered by that: only by `stop`, `kill` and the context.

    `env` is the exact environment (this process's own when None). Output and errors
    go to `log`; without one, to a file in a folder that the end of the context removes.
    """

    def __init__(
        self,
        args: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        log: Path | None = None,
        ready: Callable[[], bool] | None = None,
        within: float = 60.0,
    ) -> None:
        self.args = [str(arg) for arg in args]
        self.env = dict(os.environ if env is None else env)
        self.cwd = cwd
        self.ready = ready
        self.within = within
        self.fds: tuple[int, ...] = ()
        """Descriptors that it inherits."""
        self._folder = None if log else Path(tempfile.mkdtemp(prefix="lab-"))
        self.log = log or Path(self._folder or ".", "log")
        self._popen: subprocess.Popen[bytes] | None = None
        self._group_is_ours = False
        self._text_at_exit = ""

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._text_at_exit = self.log_text()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> Self:
        """Start it, also again after its end, and return once it is ready.

        Raises RuntimeError when it ends before, TimeoutError when it takes too long;
        both show the end of the log, and in both cases it does not run any more.
        """
        if not shutil.which(self.args[0], path=self.env.get("PATH")):
            raise FileNotFoundError(f"no such command: {self.args[0]}")
        reader, started = os.pipe()
        launcher = [sys.executable, "-ISc", _LAUNCH, str(os.getpid()), str(started)]
        with (
            open(reader, "rb") as end_of_launch,
            open(started, "wb") as launching,
            self.log.open("ab") as output,
        ):
            self._popen = subprocess.Popen(
                [*launcher, self.env.get("LC_CTYPE", ""), *self.args],
                pass_fds=[started, *self.fds],
                env=self.env,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._group_is_ours = True
            # The other end closes when the launcher has become the command.
            launching.close()
            end_of_launch.read()
        try:
            self._wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.within
        while self.ready and not self.ready():
            if not self.alive:
                raise RuntimeError(self._story(f"ended with {self.returncode}"))
            if time.monotonic() > deadline:
                raise TimeoutError(self._story(f"not ready within {self.within:g} s"))
            time.sleep(POLL_SECONDS)

    def _story(self, why: str) -> str:
        end = self.log_text().splitlines()[-LAST_LOG_LINES:]
        return "\n".join([f"{Path(self.args[0]).name}: {why}", *end])

    @property
    def pid(self) -> int:
        """The process id, also after the end."""
        if self._popen is None:
            raise RuntimeError(f"never started: {self.args[0]}")
        return self._popen.pid

    @property
    def alive(self) -> bool:
        """Whether it runs, or is paused."""
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll() if self._popen else None

    def log_text(self) -> str:
        """Return everything it has written, of all its starts."""
        if not self.log.exists():
            return self._text_at_exit
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send one signal to the process alone, if it still runs."""
        if self.alive:
            os.kill(self.pid, number)

    def pause(self) -> None:
        """Stop it without its knowledge: connections are accepted, never answered.

        Returns when each of its threads has stopped: the signal alone is not enough.
        """
        self.signal(signal.SIGSTOP)
        eventually(
            lambda: not self.alive or set(self._states()) <= set("TtZX"),
            what=f"a stop of {self.args[0]}",
        )

    def _states(self) -> list[str]:
        """Return the kernel's letter for the state of each thread."""
        letters = []
        for stat in Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(OSError):  # the thread has just ended
                letters.append(stat.read_text().rpartition(")")[2].split()[0])
        return letters

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.signal(signal.SIGCONT)

    def stop(self, within: float = 10.0) -> int | None:
        """End it with SIGTERM, with SIGKILL when that takes too long; return the code."""
        self.signal(signal.SIGTERM)
        # A paused process sees the signal only when it goes on.
        self.signal(signal.SIGCONT)
        return self._reap(within)

    def kill(self) -> int | None:
        """End it and its children with SIGKILL; return the code."""
        self.signal(signal.SIGKILL)
        return self._reap(within=10.0)

    def _reap(self, within: float) -> int | None:
        if self._popen is None:
            return None
        try:
            self._popen.wait(within)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            self._popen.wait()
        if self._group_is_ours:
            # Once only: later the number may belong to somebody else's group.
            self._group_is_ours = False
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        return self._popen.returncode
