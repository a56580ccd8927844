"""A ten-fold burst on real processes: under a budget, under a throttle, and after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bench.burst import CEILING, DSN_CHECK, WORKERS, Burst, measure

if TYPE_CHECKING:
    from lab.sink import Sink
    from lab.system import System

pytestmark = pytest.mark.process


@pytest.mark.slow
def test_a_burst_is_bounded_by_a_budget_and_by_a_throttle(
    system: System, sink: Sink
) -> None:
    """Below the budget nothing is cut. A ceiling ends by itself, with the agent killed."""
    phases = measure(Burst(system, sink))
    for name in ("calm", "after the ceiling, without an agent"):
        calm = phases[name]
        assert calm.requests == calm.transactions == calm.errors, name
    burst = phases["burst"]
    assert burst.requests > 3 * burst.transactions_due, "the load was no burst"
    assert 0.7 * burst.transactions_due < burst.transactions
    assert burst.transactions < 1.15 * burst.transactions_due
    assert 0.7 * burst.errors_due < burst.errors < 1.15 * burst.errors_due
    assert burst.quiet_seconds < 2.5
    throttled = phases["throttled"]
    fair = CEILING * throttled.requests
    for passed in (throttled.transactions, throttled.errors):
        assert fair / 3 < passed < 2 * fair
    system.start_agent(**DSN_CHECK)
    found = system.converge(WORKERS, 3)
    assert found["current"]["ceilings"] == []
    (role,) = found["roles"]
    assert {each["kind"] for each in role["budgets"]} == {"transactions", "errors"}
    dropped = [target["dropped"] for target in found["rollout"]["targets"]]
    assert any(each.get("budget") for each in dropped)
    assert any(each.get("ceiling") for each in dropped)
