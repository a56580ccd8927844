"""When passes come: by chance within the interval, after a failure, as the server asks."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from agent.backoff import backoff_seconds, retry_seconds
from agent.domain.outcome import Outcome
from agent.errors import SourceDenied, SourceDown
from agent.schedule import GRACE_SECONDS, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


DOWN = Outcome.kept(SourceDown("Vault is sealed"), None)
DENIED = Outcome.kept(SourceDenied("Vault refuses it"), None)
DECADE = timedelta(days=3652)


def spread(least: float, most: float, found: list[float]) -> bool:
    """Whether all are within the limits, and reach from one end to the other."""
    tenth = (most - least) / 10
    inside = least <= min(found) and max(found) <= most
    return inside and min(found) < least + tenth and max(found) > most - tenth


@pytest.mark.parametrize("failures", range(1, 40))
def test_waiting_doubles_up_to_the_cap(failures: int) -> None:
    """1, 2, 4 ... seconds, up to a quarter shorter, never more than the cap."""
    longest = min(60.0, 2.0 ** (failures - 1))
    found = [backoff_seconds(failures, 60.0) for _ in range(500)]
    assert spread(0.75 * longest, longest, found)


def test_what_the_server_asks_for_is_waited_for() -> None:
    """Never less, and up to a quarter more: it asks a whole fleet for the same."""
    found = [retry_seconds(1, 60, 40) for _ in range(500)]
    assert spread(40, 50, found)


@pytest.mark.parametrize("asked", [None, 1.0])
def test_a_server_that_asks_for_less_does_not_shorten_the_back_off(
    asked: float | None,
) -> None:
    """It says 1 s also while it refuses for an hour."""
    found = [retry_seconds(7, 60, asked) for _ in range(500)]
    assert spread(45, 60, found)


@pytest.mark.parametrize("asked", [299.0, 300.0])
def test_nobody_is_obeyed_for_longer_than_five_minutes(asked: float) -> None:
    """An outage that has ended is noticed within that time."""
    assert max(retry_seconds(1, 1, asked) for _ in range(500)) <= 300


@pytest.fixture
def planned() -> Iterator[Callable[[float], Schedule]]:
    """Make a schedule that polls as often; its passes do nothing."""
    made: list[Schedule] = []

    def make(poll_seconds: float) -> Schedule:
        made.append(Schedule(poll_seconds, lambda: None))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def wait_of(one: Schedule) -> float:
    """In how many seconds APScheduler will run the next pass."""
    seconds: float = (one._job.next_run_time - datetime.now(UTC)).total_seconds()
    return seconds


def test_a_poll_comes_after_four_fifths_of_the_interval_to_the_whole(
    planned: Callable[[float], Schedule],
) -> None:
    """By chance, each time anew, in the scheduler itself."""
    one = planned(60)
    found = []
    for _ in range(300):
        ran = one._job.next_run_time
        times = one._job._get_run_times(ran)
        assert times == [ran]
        later = one._job.trigger.get_next_fire_time(ran, ran)
        found.append((later - ran).total_seconds())
    assert spread(48, 60, found)
    assert 47 < wait_of(one) <= 60


@pytest.mark.parametrize("poll_seconds", [0.001, 1.0, 86400.0])
def test_a_clock_that_was_put_forward_ten_years_makes_one_pass(
    planned: Callable[[float], Schedule], poll_seconds: float
) -> None:
    """What was missed is not counted, let alone made up for."""
    one = planned(poll_seconds)
    later = datetime.now(UTC) + DECADE
    began = time.monotonic()
    assert len(one._job._get_run_times(later)) == 1
    assert one._job.trigger.get_next_fire_time(None, later) > later
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("poll_seconds", "failures", "least", "most"),
    [
        (60, 1, 0.75, 1),
        (60, 4, 6, 8),
        (60, 20, 45, 60),
        (86400, 20, 225, 300),
    ],
)
def test_a_failure_brings_the_next_pass_forward(
    planned: Callable[[float], Schedule],
    poll_seconds: float,
    failures: int,
    least: float,
    most: float,
) -> None:
    """By the back-off, which ends at the interval, and at five minutes at the latest."""
    one = planned(poll_seconds)
    found = []
    for _ in range(200):
        one.passed(DOWN, failures, None)
        found.append(wait_of(one))
        assert one.overdue_at - time.monotonic() <= most + GRACE_SECONDS
    assert least - 0.1 < min(found) < max(found) <= most
    assert len(set(found)) > 100


def test_the_server_s_wish_reaches_the_scheduler(
    planned: Callable[[float], Schedule],
) -> None:
    """Retry-After counts although the interval is shorter, and the supervisor knows."""
    one = planned(1)
    asking = Outcome.kept(SourceDown("slow down", retry_after=200.0), None)
    one.passed(asking, 1, None)
    assert 199 < wait_of(one) <= 250
    assert one.overdue_at - time.monotonic() > 200


def test_a_refusal_is_asked_again_at_the_next_poll(
    planned: Callable[[float], Schedule],
) -> None:
    """Only an operator mends it, so trying sooner would only be noise."""
    one = planned(60)
    one.passed(DENIED, 1, None)
    assert 47 < wait_of(one) <= 60


def test_a_token_that_ends_brings_a_pass_forward(
    planned: Callable[[float], Schedule],
) -> None:
    """But none more often than once a second, whatever the source says."""
    one = planned(60)
    for due, wait in ((30.0, 30.0), (0.0, GRACE_SECONDS), (None, 61.0), (999.0, 61.0)):
        one.passed(Outcome("unchanged", ""), 0, due)
        assert one.overdue_at - time.monotonic() == pytest.approx(wait, abs=0.1)


def test_what_is_asked_for_now_runs_now() -> None:
    """It does not wait for the interval; the one after it does."""
    ran: list[bool] = []
    one = Schedule(3600, lambda: ran.append(True))
    one.look()
    assert not ran
    one.after(0)
    one.look()
    assert ran == [True]
    assert wait_of(one) > 2800
    assert 2800 < one.again_at - time.monotonic() < 3601
    one.look()
    assert ran == [True]
    one.after(0)
    one.stop()
    one.look()
    assert ran == [True]


def test_an_error_of_a_pass_does_not_end_the_schedule() -> None:
    """APScheduler logs it, and the plan goes on."""
    tried: list[bool] = []

    def fail() -> None:
        tried.append(True)
        raise ZeroDivisionError

    one = Schedule(3600, fail)
    for times in (1, 2, 3):
        one.after(0)
        one.look()
        assert len(tried) == times
        assert wait_of(one) > 2800
    one.stop()
