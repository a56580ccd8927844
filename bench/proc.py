"""What the kernel knows of a process: memory, threads, CPU time, context switches."""

from __future__ import annotations

import contextlib
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Memory(NamedTuple):
    """KiB: resident, and the part of it that no other process can share."""

    rss: int
    anon: int


class Usage(NamedTuple):
    """What a process has used since its start, all threads together."""

    cpu_ns: int
    waits: int
    """Voluntary context switches: how often a thread went to sleep."""


def memory(pid: int) -> Memory:
    """Return what the process occupies now."""
    try:
        fields = _fields(Path(f"/proc/{pid}/smaps_rollup"))
        return Memory(fields["Rss"], fields["Anonymous"])
    except PermissionError:  # the agent hides it from all but root
        fields = _fields(Path(f"/proc/{pid}/status"))
        return Memory(fields["VmRSS"], fields["RssAnon"])


def threads(pid: int) -> int:
    """Return how many threads the process has now."""
    return _fields(Path(f"/proc/{pid}/status"))["Threads"]


def usage(pid: int) -> Usage:
    """Return what the process has used so far."""
    waits = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(FileNotFoundError):  # the thread has just ended
            waits += _fields(status)["voluntary_ctxt_switches"]
    # clock_getcpuclockid(3): exact, where /proc/PID/stat counts in steps of 10 ms.
    return Usage(time.clock_gettime_ns((~pid << 3) | 2), waits)


def seconds_until(
    condition: Callable[[], bool], command: Sequence[str], env: Mapping[str, str]
) -> float:
    """Return the time from starting the command to `condition`, then kill it.

    `condition` is asked every half millisecond, and once more after its end.
    """
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not condition():
            if process.poll() is not None and not condition():
                raise RuntimeError(_last_words(process, "ended too early"))
            if time.monotonic() > began + 20:
                process.kill()
                raise TimeoutError(_last_words(process, "took more than 20 s"))
            time.sleep(0.0005)
        return time.monotonic() - began
    finally:
        process.kill()
        process.communicate()


def seconds_to_run(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Return the time from starting the command to its end."""
    began = time.monotonic()
    subprocess.run(command, env=env, check=True)
    return time.monotonic() - began


def _last_words(process: subprocess.Popen[bytes], what: str) -> str:
    _, errors = process.communicate()
    return f"{process.args!r} {what}:\n{errors.decode(errors='replace')}"


def _fields(path: Path) -> dict[str, int]:
    """Return the lines `Name: NUMBER [kB]` of a file below /proc."""
    pairs = (line.partition(":") for line in path.read_text().splitlines())
    words = {name: value.split() for name, _, value in pairs}
    return {
        name: int(value[0])
        for name, value in words.items()
        if value and value[0].isdigit()
    }
