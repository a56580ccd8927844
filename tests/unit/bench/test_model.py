"""The model of a fleet at one Vault: arithmetic that can be checked by hand."""

import random
from datetime import UTC, datetime

import pytest

from agent.schedule import Interval
from bench import model

FOUND = {
    "measured": {"steady_seconds": 10.0},
    "steady": {
        "9": {"polls": 100, "server_cpu_ms": 9.0},
        "10": {"polls": 110, "server_cpu_ms": 2.0},
    },
    "start": {
        "9": {},
        "10": {model.START_JITTER: {"server_cpu_ms": 5.0, "requests_per_agent": 3.0}},
    },
}


def test_the_largest_fleet_that_was_measured_counts() -> None:
    assert model.measured(FOUND) == model.Measured(10, 2.0, 5.0, 3.0, 11.0)


def test_each_pod_reads_each_of_its_secrets_once_in_an_interval() -> None:
    assert model.reads(1000, 1, 60) == pytest.approx(18.52, abs=0.01)
    assert model.reads(1000, 3, 60) == pytest.approx(3 * model.reads(1000, 1, 60))
    assert model.reads(1000, 1, 300) == pytest.approx(model.reads(1000, 1, 60) / 5)


def test_an_operator_reads_once_for_all_pods_of_an_application() -> None:
    _, static, external = model.WAYS
    assert model.reads(1000, 1, 100, static) == pytest.approx(1.176, abs=0.001)
    assert model.reads(1000, 1, 100, external) == pytest.approx(4)


def test_an_hour_of_a_token_has_one_renewal_and_a_half() -> None:
    assert model.renewals(1000) * 3600 == pytest.approx(1579, abs=1)


def test_a_poll_waits_as_the_model_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", random.Random(1).uniform)
    interval, now = Interval(100), datetime.now(UTC)
    waits = [
        (interval.get_next_fire_time(None, now) - now).total_seconds()
        for _ in range(2000)
    ]
    mean = sum(waits) / len(waits)
    assert mean == pytest.approx(100 * model.POLL_SHARE, rel=0.01)


@pytest.mark.parametrize(
    ("number", "shown"), [(0.0321, "0.032"), (18.52, "19"), (3704, "3,700"), (8, "8")]
)
def test_a_figure_has_two_digits(number: float, shown: str) -> None:
    assert model.rate(number) == shown
