"""What the kernel knows of a process: memory, threads, CPU time, context switches."""

from __future__ import annotations

import contextlib
import os
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


class Moment(NamedTuple):
    """When something happened after a start, and what the process had used by then."""

    seconds: float
    cpu_ns: int


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


def moments(
    conditions: Sequence[Callable[[], bool]],
    command: Sequence[str],
    env: Mapping[str, str],
) -> list[Moment]:
    """Start the command, tell when each condition came true, then kill it."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        return reached(
            conditions, process.pid, lambda: process.poll() is not None, began
        )
    except RuntimeError as error:
        process.kill()
        raise RuntimeError(_last_words(process, str(error))) from None
    finally:
        process.kill()
        process.communicate()


def reached(
    conditions: Sequence[Callable[[], bool]],
    pid: int,
    has_ended: Callable[[], bool],
    began: float,
    used_ns: int = 0,
) -> list[Moment]:
    """Tell when each condition came true, and what the process had used by then.

    They come true in their order. Each is asked every half millisecond. The process has
    begun at this monotonic time. `used_ns` does not count: it had used that before.
    """
    found = []
    for condition in conditions:
        while not condition():
            if has_ended():
                raise RuntimeError("ended too early")
            if time.monotonic() > began + 20:
                raise RuntimeError("took more than 20 s")
            time.sleep(0.0005)
        took = time.monotonic() - began
        found.append(Moment(took, usage(pid).cpu_ns - used_ns))
    return found


def to_run(command: Sequence[str]) -> Moment:
    """Run the command without an environment; tell when it ended."""
    began = time.monotonic()
    process = subprocess.Popen(command, env={})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.monotonic() - began
    return Moment(took, round(1e9 * (used.ru_utime + used.ru_stime)))


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
