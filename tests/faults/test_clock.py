"""The wall clock is put forward and back under a running agent; its polls go on.

libfaketime stands between the agent and its C library, so everything in that process,
APScheduler too, sees the step; the monotonic clock goes on, as it does in the kernel.
"""

from __future__ import annotations

import platform
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.process import eventually
from lab.proxy import Proxy
from lab.system import System

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUR, TEN_YEARS = 3600, 3652 * 86400
LATE_SECONDS, EARLY_SECONDS = 1.0, 0.5
"""What a machine that has other things to do may add and take away."""
DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/1"

pytestmark = [
    pytest.mark.process,
    pytest.mark.alone,
    pytest.mark.skipif(
        platform.machine() != "x86_64", reason="libfaketime's wheel is built for x86-64"
    ),
]


class Clock:
    """An agent, how its wall clock is off, and when it asked Vault."""

    def __init__(self, system: System, proxy: Proxy, poll_seconds: float) -> None:
        self.system = system
        self.proxy = proxy
        self.poll_seconds = poll_seconds
        self._file = system.folder / "clock"
        self.put(0)
        found = find_spec("libfaketime")
        assert found
        assert found.origin
        library = Path(found.origin).parent / "vendor/libfaketime/src/libfaketime.so.1"
        system.write(SENTRY_DSN=DSN)
        self.agent = system.start_agent(
            LD_PRELOAD=str(library),
            FAKETIME_TIMESTAMP_FILE=str(self._file),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            RESENTRY_VAULT_ADDR=proxy.url,
            RESENTRY_POLL_SECONDS=f"{poll_seconds:g}",
            RESENTRY_DSN_CHECK="off",
        )
        eventually(lambda: system.status()["current"], what="the first snapshot")

    def put(self, seconds: int) -> None:
        """Put the wall clock off by so many seconds, in one step."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)

    def sleeps(self) -> bool:
        """Whether every thread of the agent does, so that the next poll is planned."""
        tasks = Path(f"/proc/{self.agent.pid}/task").glob("*/stat")
        return all(
            task.read_text().rpartition(")")[2].split()[0] == "S" for task in tasks
        )

    def shown(self) -> float:
        """What the agent's wall clock showed at its last good pass."""
        lines = self.system.get("/metrics").text.splitlines()
        name = "resentry_last_success_timestamp_seconds "
        return float(next(line for line in lines if line.startswith(name)).split()[1])

    def polls(self, number: int) -> list[float]:
        """Wait for so many more polls; return when they came, from now on."""
        asked, began = len(self.proxy.requests), time.monotonic()
        found: list[float] = []
        while len(found) < number:
            now = len(found) + asked
            eventually(
                lambda now=now: len(self.proxy.requests) > now,
                3 * self.poll_seconds + 10,
                f"poll {len(found) + 1} of {number}",
            )
            more = len(self.proxy.requests) - now
            found += [time.monotonic() - began] * more
        return found


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> Iterator[Clock]:
    with System() as system, Proxy(system.vault.address) as proxy:
        yield Clock(system, proxy, request.param)


@pytest.mark.parametrize(
    ("clock", "steps"),
    [
        (1, [HOUR, 0, -HOUR, TEN_YEARS, -TEN_YEARS, 0]),
        (5, [TEN_YEARS, HOUR]),
    ],
    indirect=["clock"],
)
def test_a_step_of_the_wall_clock_delays_no_poll_and_causes_no_burst(
    clock: Clock, steps: list[int]
) -> None:
    """An hour or ten years, forth or back: one interval late at most, and none extra."""
    interval = clock.poll_seconds
    for step in steps:
        clock.polls(1)
        eventually(clock.sleeps, what="rest")
        clock.put(step)
        first, *later = came = clock.polls(3)

        # The next one, and a second until the agent sees that it is missing.
        assert first <= interval + 1 + LATE_SECONDS, (step, came)
        gaps = [now - before for before, now in zip(came, later, strict=False)]
        assert max(gaps) <= interval + 1 + LATE_SECONDS, (step, came)
        assert min(gaps) >= 0.8 * interval - EARLY_SECONDS, (step, came)
        assert clock.shown() == pytest.approx(time.time() + step, abs=2 * interval + 2)
        assert clock.system.get("/livez").status_code == 200
    assert clock.system.status()["current"]["sequence"] == 1
    assert '"level": "error"' not in clock.agent.log_text()
