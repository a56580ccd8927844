"""Ceilings, error rules and budgets: in metrics, JSON and lines."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.cli.status_lines import status_lines
from agent.domain.passes import Passes
from agent.domain.rollout import LiveTarget, assess
from agent.domain.tuned import is_cause, known_only, unhonoured
from agent.domain.view import Known, View
from agent.observe.document import whole
from agent.observe.metrics import Metrics
from agent.observe.tuning_metrics import LABELS_LIMIT
from resentry.contract import Budget, Ceiling, ErrorRule, Receipt, Snapshot, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = 1_800_000_000.0
CURRENT = Snapshot(
    {"SENTRY_DSN": "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"},
    revision="a" * 12,
    sequence=7,
    ceilings=(
        Ceiling(traces=0.1),
        Ceiling(errors=0.1, until=time_text(NOW + 600), id="c1"),
        Ceiling(errors=0.1, until=time_text(NOW - 1), id="over"),
    ),
    errors=(ErrorRule(exception="KeyError", rate=0.0, role="api"),),
    budgets=(Budget(transactions=600), Budget(transactions=60, errors=30, role="web")),
)
NEW = {"dropped": {}, "budgets": {"transactions": 1.0}}


@pytest.fixture
def view(
    receipt: Callable[..., Receipt], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., View]:
    """What is known of processes with these receipts."""
    monkeypatch.setattr(time, "time", lambda: NOW)

    def make(*given: dict[str, Any], current: Snapshot | None = CURRENT) -> View:
        targets = [
            LiveTarget(
                receipt(**{"id": f"{n:016}", "pid": n, "dsn": "d" * 12, **own}), 0
            )
            for n, own in enumerate(given, 1)
        ]
        rollout = assess(targets, current, late=False)
        return View(Known(current), Passes(0.0), 0.0, rollout)

    return make


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The series of one metric by their labels' values, in the order of the names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name
    }


def test_dropped_errors_count_from_the_start_of_the_agent(
    view: Callable[..., View],
) -> None:
    """By role and cause, over all processes; other rules begin at 0 again."""
    metrics = Metrics("1")
    for dropped in ({"rate": 100}, {"rate": 105, "rule 0": 2}, {"rule 0": 1}):
        metrics.show(view({"dropped": dropped}, {"role": "web", "dropped": {}}))
    name = "resentry_errors_dropped_total"
    assert shown(metrics, name) == {("rate", "api"): 5, ("rule 0", "api"): 2}
    metrics.show(view({"dropped": {"rule 0": 4}}, {"dropped": {"rule 0": 3}}))
    assert shown(metrics, name)["rule 0", "api"] == 2 + 3 + 3


def test_forged_receipts_make_few_series(view: Callable[..., View]) -> None:
    """Anybody may forge a receipt."""
    metrics = Metrics("1")
    many = [{f"rule {n}": n for n in range(30)} for _ in range(40)]
    for turn in (0, 1):
        rows = [
            {"role": f"r{n}", "dropped": {k: v + turn for k, v in own.items()}}
            | {"budgets": {"transactions": 0.5}}
            for n, own in enumerate(many)
        ]
        metrics.show(
            view(*rows, *({**own, "role": f"s{n}"} for n, own in enumerate(rows)))
        )
    series = shown(metrics, "resentry_errors_dropped_total")
    assert len(series) == LABELS_LIMIT + 1
    assert sum(series.values()) == 2 * 40 * 30
    assert len(shown(metrics, "resentry_budget_share")) == LABELS_LIMIT // 2


def test_the_lowest_share_of_a_role_is_shown(view: Callable[..., View]) -> None:
    """While its budget is there; and ceilings with their end."""
    metrics = Metrics("1")
    metrics.show(
        view(
            {"dropped": {}, "budgets": {"transactions": 0.5, "errors": 0.1}},
            {"dropped": {}, "budgets": {"transactions": 0.031}},
            {"role": "web", "dropped": {}, "budgets": {"errors": 1}},
            {"role": "old"},
        )
    )
    assert shown(metrics, "resentry_budget_share") == {
        ("transactions", "api"): 0.031,
        ("errors", "web"): 1,
    }
    assert shown(metrics, "resentry_ceilings") == {(): 2}
    assert shown(metrics, "resentry_ceilings_end_timestamp_seconds") == {(): NOW + 600}
    assert shown(metrics, "resentry_targets_too_old") == {(): 1}
    metrics.show(view(NEW, current=None))
    assert shown(metrics, "resentry_budget_share") == {}
    for name in ("ceilings", "ceilings_end_timestamp_seconds", "targets_too_old"):
        assert shown(metrics, f"resentry_{name}") == {(): 0}


def test_status_names_budgets_drops_and_libraries_that_are_too_old(
    view: Callable[..., View],
) -> None:
    """In JSON, and in lines for people."""
    seen = view(
        {"dropped": {"rule 0": 1200, "budget": 3}, "budgets": {"transactions": 0.031}},
        {"role": "web"},
    )
    result = whole(seen).result
    assert result is not None
    api, web = result.roles
    assert [(each.kind, each.per_minute, each.share) for each in api.budgets] == [
        ("transactions", 600, 0.031)
    ]
    assert [each.share for each in web.budgets] == [None, None]
    new, old = result.rollout.targets
    assert (new.dropped, new.unhonoured) == ({"rule 0": 1200, "budget": 3}, [])
    assert (old.dropped, old.unhonoured) == (None, ["ceilings", "budgets"])
    text = "\n".join(status_lines(result, ""))
    assert "transactions 0.031 now, budget 600/min\n" in text
    assert "errors a share not known now, budget 30/min\n" in text
    assert "errors: 3 by the budget, 1,200 by error rule 0" in text
    assert text.count("too old for the snapshot's ceilings and budgets") == 1


def test_only_what_is_for_a_process_can_be_too_new_for_it(
    receipt: Callable[..., Receipt],
) -> None:
    """The application's own client honours nothing anyway, and is named elsewhere."""
    api, other = receipt(), receipt(role="celery")
    assert unhonoured(CURRENT, api) == ("ceilings", "error rules", "budgets")
    assert unhonoured(CURRENT, other) == ("ceilings", "budgets")
    assert unhonoured(CURRENT, receipt(dropped={})) == ()
    assert unhonoured(CURRENT, receipt(foreign=True)) == ()
    assert unhonoured(Snapshot({}), api) == unhonoured(None, api) == ()


def test_causes_that_this_agent_does_not_know_are_skipped(
    receipt: Callable[..., Receipt],
) -> None:
    """A newer library may have more of them; so may a forged receipt."""
    assert [*map(is_cause, ("rule 0", "rule 99", "rate", "ceiling", "budget"))] == [
        True
    ] * 5
    assert not any(
        map(is_cause, ("rule 100", "rule", "rule -1", "quota", "", "rule ²"))
    )
    given = receipt(dropped={"rate": 1, "x": 2}, budgets={"errors": 1, "x": 0.5})
    kept = known_only(given)
    assert (kept.dropped, kept.budgets) == ({"rate": 1}, {"errors": 1})
    assert known_only(receipt()).dropped is None
