"""What servers answer to processes, in metrics, status and log; and what processes run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from agent.cli.status_lines import status_lines
from agent.domain.dsn_check import DsnReport
from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import LiveTarget, assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.domain.wishes import Held, Wishes
from agent.errors import CandidateRefused
from agent.observe import document, growth
from agent.observe.changes import count_changes, log_changes
from agent.observe.growth import GROWTH_LIMIT
from agent.observe.metrics import Metrics
from agent.observe.target_metrics import ROLES_LIMIT, VERSIONS_LIMIT
from resentry.answers import ANSWERS_LIMIT, Answer
from resentry.contract import Boost, Holder, Receipt, Snapshot, fingerprint, time_text

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"
DSN = f"https://{KEY}@sentry.example.org/42"
OLD = DSN.replace("/42", "/41")
MARK, OLD_MARK = fingerprint(DSN), fingerprint(OLD)
CURRENT = Snapshot({"SENTRY_DSN": DSN}, revision="a" * 12, sequence=7)
HUGE = 10**400
SINCE = "2026-11-24T06:00:00Z"


@pytest.fixture
def view(receipt: Callable[..., Receipt]) -> Callable[..., View]:
    """What is known of processes with these receipts; each has an id of its own."""

    def make(*given: dict[str, Any], **known: Any) -> View:
        targets = [
            LiveTarget(receipt(**{"id": f"{number:016}", **values}), 0)
            for number, values in enumerate(given)
        ]
        current = known.setdefault("current", CURRENT)
        rollout = assess(targets, current, late=False)
        return View(Known(**known), Passes(0.0), 0.0, rollout)

    return make


def answer(
    kind: str = "accepted", dsn: str = MARK, status: int | None = 200, **more: Any
) -> Answer:
    return Answer(dsn, kind, status, SINCE, **{"accepted_at": SINCE, **more})


def shown(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """The series of one metric by their labels' values, in the order of the names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == name
    }


def told(metrics: Metrics, *views: View) -> None:
    """Show one view after the other, as the daemon does."""
    nothing = View(Known(), Passes(0.0), 0.0, assess([], None, late=False))
    with capture_logs() as lines:
        for before, after in zip((nothing, *views), views, strict=False):
            count_changes(before, after, metrics)
    assert lines == []


def test_the_newest_answers_are_counted_by_dsn_and_kind(
    view: Callable[..., View],
) -> None:
    """All kinds of a published DSN are there, also as 0; every other DSN is `other`."""
    refused = {"answers": (answer("refused", status=403), answer(dsn=OLD_MARK))}
    metrics = Metrics("1")
    told(metrics, view(refused, refused, {"answers": (answer(),)}))
    series = shown(metrics, "resentry_dsn_answers")
    assert series == {
        (MARK, "accepted"): 1,
        (MARK, "refused"): 2,
        (MARK, "limited"): 0,
        (MARK, "failed"): 0,
        (MARK, "unreached"): 0,
        (MARK, "other"): 0,
        ("other", "accepted"): 2,
    }
    accepted = shown(metrics, "resentry_dsn_accepted_timestamp_seconds")
    assert [*accepted] == [(MARK,)]


def test_envelopes_count_from_the_start_of_the_agent(view: Callable[..., View]) -> None:
    """A restart of the agent counts nothing twice; a new process begins at 0."""
    metrics = Metrics("1")
    name = "resentry_dsn_envelopes_total"
    told(
        metrics,
        view({"answers": (answer(accepted=1000),)}),
        view({"answers": (answer(accepted=1005, refused=2),)}),
        view({"id": "f" * 16, "answers": (answer(accepted=3),)}),
    )
    series = shown(metrics, name)
    assert series[MARK, "accepted"] == 8
    assert series[MARK, "refused"] == 2
    other = replace(CURRENT, settings={"SENTRY_DSN": OLD})
    told(metrics, view(current=other))
    assert {dsn for dsn, _ in shown(metrics, name)} == {OLD_MARK}


def test_a_receipt_that_cannot_be_read_for_a_moment_counts_nothing_twice(
    view: Callable[..., View],
) -> None:
    """Nor do those that a limit has left unread."""
    metrics = Metrics("1")
    counted = {"answers": (answer(accepted=10),), "tally": {"dropped": 5}}
    seen = view(counted)
    unread = LiveTarget.unreadable("0" * 16, 7, "why")
    blind = replace(seen, rollout=assess([unread], CURRENT, late=False))
    limited = replace(
        seen, rollout=assess([], CURRENT, late=False, unknown="too many files")
    )
    told(metrics, view(), seen, blind, seen, limited, seen)
    assert shown(metrics, "resentry_dsn_envelopes_total")[MARK, "accepted"] == 10
    assert shown(metrics, "resentry_tally_total")["dropped",] == 5
    assert shown(metrics, "resentry_targets_started_total")["api",] == 1
    assert shown(metrics, "resentry_rollout_unknown") == {(): 0}


@pytest.mark.parametrize(
    "number", [-1, -HUGE, HUGE, 2**60], ids=["negative", "-huge", "huge", "large"]
)
def test_a_forged_count_breaks_nothing(view: Callable[..., View], number: int) -> None:
    """The metrics are there, and no count falls."""
    metrics = Metrics("1")
    forged = {
        "answers": (answer(accepted=number),),
        "tally": {"dropped": number, "strange": 1},
        "values": {"SENTRY_SAMPLE_RATE": number, "SENTRY_TRACES_SAMPLE_RATE": "x"},
    }
    told(metrics, view(), view(forged), view({}), view(forged))
    assert shown(metrics, "resentry_tally_total")["dropped",] >= 0
    rate = shown(metrics, "resentry_rate")
    assert set(rate.values()) <= {0.0, 1.0}


def test_what_a_forged_count_adds_hides_no_real_count(
    view: Callable[..., View], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is bounded, and so is the sum: a float then still shows a step of one."""
    monkeypatch.setattr(growth, "SUM_LIMIT", 5 * GROWTH_LIMIT + 1)
    real = {"answers": (answer(accepted=1),), "tally": {"dropped": 1}}
    more = {"answers": (answer(accepted=2),), "tally": {"dropped": 2}}
    forged = {"answers": (answer(accepted=2**53),), "tally": {"dropped": 2**53}}
    metrics = Metrics("1")

    def counted() -> tuple[float, float]:
        envelopes = shown(metrics, "resentry_dsn_envelopes_total")
        tally = shown(metrics, "resentry_tally_total")
        return envelopes[MARK, "accepted"], tally["dropped",]

    told(metrics, view(real), view(real, forged, forged))
    assert counted() == (2 * GROWTH_LIMIT,) * 2
    told(metrics, view(real, forged, forged), view(more, forged, forged))
    assert counted() == (2 * GROWTH_LIMIT + 1,) * 2
    for _ in range(3):
        told(metrics, view(more), view(more, forged, forged))
    assert counted() == (5 * GROWTH_LIMIT + 1,) * 2
    rotated = replace(CURRENT, settings={"SENTRY_DSN": OLD})
    told(metrics, view(more, forged, current=rotated), view(more), view(more, forged))
    assert counted()[1] == 5 * GROWTH_LIMIT + 1


def test_a_bug_in_a_metric_is_logged_and_hides_nothing(
    view: Callable[..., View], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, log and rollout go on with the newest view."""

    def broken(_view: View) -> None:
        raise OverflowError

    metrics = Metrics("1")
    monkeypatch.setattr(metrics, "show", broken)
    with capture_logs() as lines:
        count_changes(view(), view({}), metrics)
    (line,) = lines
    assert line["event"] == "a metric failed with an internal error"


def test_a_rotation_counts_nothing_twice(view: Callable[..., View]) -> None:
    """The counts of the DSN that was replaced are no envelopes of `other`."""
    both = {"answers": (answer(accepted=50), answer(dsn=OLD_MARK, accepted=900))}
    more = {"answers": (answer(accepted=51), answer(dsn=OLD_MARK, accepted=902))}
    before = replace(CURRENT, settings={"SENTRY_DSN": OLD})
    metrics = Metrics("1")
    told(metrics, view(both, current=before), view(both), view(more))
    series = shown(metrics, "resentry_dsn_envelopes_total")
    assert series["other", "accepted"] == 2
    assert series[MARK, "accepted"] == 1


def test_forged_receipts_are_a_bounded_number_of_labels(
    view: Callable[..., View],
) -> None:
    """DSNs, kinds, roles and reasons: none of them is a stranger's text."""
    forged = [
        {
            "role": f"r{n}",
            "answers": tuple(
                answer(f"kind{n}", dsn=f"{n}-{m}") for m in range(ANSWERS_LIMIT)
            ),
            "tally": {f"t{n}": 1},
            "values": {f"v{n}": 1},
        }
        for n in range(300)
    ]
    metrics = Metrics("1")
    told(metrics, view(), view(*forged), view(*reversed(forged)))
    text = metrics.render().decode()
    assert len(text.splitlines()) < 1500
    assert "kind7" not in text
    assert "7-1" not in text
    assert len(shown(metrics, "resentry_targets_started_total")) <= ROLES_LIMIT + 1


def test_roles_and_versions_that_change_are_a_bounded_number_of_labels(
    view: Callable[..., View],
) -> None:
    """However often a scraper looks, and whatever the receipts name by then."""
    metrics = Metrics("1")
    seen: set[tuple[str, ...]] = set()
    names = ("resentry_targets", "resentry_target_versions", "resentry_rate")
    first = {"role": "api", "library": "0.1.0", "sdk": "2.43.0"}
    for look in range(20):
        forged = [
            {
                "role": f"r{look}x{n}",
                "library": f"0.{look}.{n}" if n % 2 else f"0.1.0x{look}",
                "sdk": "2.43.0",
                "values": {"SENTRY_SAMPLE_RATE": 1.0},
            }
            for n in range(20)
        ]
        told(metrics, view(first), view(first, *forged))
        for name in names:
            series = shown(metrics, name)
            seen |= {(name, *labels) for labels in series}
    assert {role for name, role, *_ in seen if name == names[0]} >= {"api", "other"}
    assert len({role for name, role, *_ in seen if name == names[0]}) == ROLES_LIMIT + 1
    versions = {library for name, library, *_ in seen if name == names[1]}
    assert {"0.1.0", "other"} <= versions
    assert len(versions) <= VERSIONS_LIMIT + 1
    assert not any("x" in version for version in versions)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"dsn": MARK}, None),
        ({"dsn": ""}, "no_dsn"),
        ({"dsn": MARK, "foreign": True}, "foreign"),
        ({"dsn": MARK, "values": {"SENTRY_SAMPLE_RATE": 0.0}}, "errors_off"),
        (
            {
                "dsn": "",
                "role": "celery",
                "values": {"SENTRY_ENABLE_FOR_CELERY": False},
            },
            "switched_off",
        ),
    ],
)
def test_who_sends_no_errors_is_counted_with_the_reason(
    view: Callable[..., View], values: dict[str, Any], reason: str | None
) -> None:
    """A rate of 0 ends telemetry as silently as a dead key."""
    given = {"SENTRY_SAMPLE_RATE": 1.0, **values.pop("values", {})}
    metrics = Metrics("1")
    told(metrics, view({**values, "values": given}))
    silent = shown(metrics, "resentry_targets_silent")
    assert [why for (why, _), number in silent.items() if number] == (
        [reason] if reason else []
    )


def test_the_rates_that_run_are_shown_by_role(view: Callable[..., View]) -> None:
    """The lowest and the highest; a rate that is off is 0; old libraries tell none."""
    name = "SENTRY_TRACES_SAMPLE_RATE"
    metrics = Metrics("1")
    told(
        metrics,
        view({"values": {name: 0.1}}, {"values": {name: None}}, {"role": "old"}),
    )
    rate = shown(metrics, "resentry_rate")
    assert rate["lowest", "api", name] == 0
    assert rate["highest", "api", name] == 0.1
    assert not [key for key in rate if key[1] == "old"]


def test_checks_tallies_holders_boosts_and_rollbacks_are_shown(
    view: Callable[..., View],
) -> None:
    """What an operator left behind is seen by who comes after."""
    ends = time.time() + 900
    boosted = replace(CURRENT, boosts=(Boost("b1", 1.0, time_text(ends)),))
    known = view(
        {"tally": {"dropped": 0}, "holders": (Holder("otlp", OLD_MARK),)},
        current=boosted,
        wishes=Wishes(held=Held(CURRENT, {})),
    )
    checks = tuple(
        DsnReport("host/1", mark, verdict, True, 3, 0.0)
        for mark, verdict in ((MARK, "rejected"), ("of a candidate", "accepted"))
    )
    later = replace(known, dsn_checks=checks)
    more = view({"tally": {"dropped": 2}}, current=boosted).rollout
    metrics = Metrics("1")
    told(metrics, known, later)
    assert shown(metrics, "resentry_targets_holding") == {(): 1}
    assert shown(metrics, "resentry_boosts") == {(): 1}
    (end,) = shown(metrics, "resentry_boosts_end_timestamp_seconds").values()
    assert end == pytest.approx(ends, abs=1)
    assert shown(metrics, "resentry_rollback_held") == {(): 1}
    assert shown(metrics, "resentry_dsn_check_verdict") == {
        (MARK, "rejected"): 1,
        ("other", "accepted"): 1,
    }
    count_changes(later, replace(later, rollout=more), metrics)
    assert shown(metrics, "resentry_tally_total")["dropped",] == 2


@pytest.mark.parametrize(
    ("age", "number"), [(-30.0, 1), (3600.0, 0)], ids=["new", "old"]
)
def test_propagation_is_measured_from_the_writing_in_vault(
    view: Callable[..., View], age: float, number: int
) -> None:
    """Once per version; one from before the agent's start was there already."""
    metrics = Metrics("1")
    created = time_text(time.time() - age)
    origin = {"SENTRY_DSN": {"source": "vault", "created_time": created}}
    seen = view(current=replace(CURRENT, provenance=origin))
    told(metrics, seen, replace(seen, confirmed_at=2.0))
    told(metrics, seen, replace(seen, confirmed_at=3.0))
    assert shown(metrics, "resentry_propagation_seconds_count") == {(): number}
    assert shown(metrics, "resentry_confirm_seconds_count") == {(): 2}


def test_a_dead_dsn_is_a_line_in_log_and_status(view: Callable[..., View]) -> None:
    """Once when the answers turn, and once when they turn back."""
    good = view({"answers": (answer(),)}, {"answers": (answer(),)})
    bad = view(
        {"answers": (answer("refused", status=403, refused=1),)},
        {"answers": (answer(),)},
    )
    with capture_logs() as lines:
        for before, after in ((good, bad), (bad, view_again(bad)), (bad, good)):
            log_changes(before, after)
    dead, again = (line for line in lines if line.get("dsn") == MARK)
    assert dead["log_level"] == "warning"
    assert dead["event"] == (
        "DSN sentry.example.org/42 (key …ee00): of 2 processes, 1 refused (status 403) "
        f"since {SINCE}; an envelope was accepted last at {SINCE}"
    )
    assert "enable the key" in dead["hint"]
    assert again["log_level"] == "info"
    result = document.whole(bad).result
    assert result is not None
    assert dead["hint"] in "\n".join(status_lines(result, ""))
    (use,) = msgspec.to_builtins(result)["dsns"]
    assert use["processes"] == {"accepted": 1, "refused": 1}
    assert use["fingerprint"] == MARK
    assert KEY not in str(use)


def view_again(view: View) -> View:
    """The same once more, as after each receipt."""
    return replace(view, rollout=replace(view.rollout))


@pytest.mark.parametrize(
    ("problem", "key"),
    [
        ("SENTRY_DSN is gone from the source", "SENTRY_DSN"),
        ("RESENTRY_RULES must be a list", "RESENTRY_RULES"),
        ("celery: SENTRY_SAMPLE_RATE must be a number", "SENTRY_SAMPLE_RATE"),
        ("DSN check of sentry.example.org/42: rejected (403)", "dsn_check"),
        ("SENTRY_STRANGER is not a known key", "other"),
        ("the secret holds more than 1,000 keys", "other"),
    ],
)
def test_a_refused_candidate_names_the_key(
    view: Callable[..., View], problem: str, key: str
) -> None:
    """Only keys that are known, so nobody makes labels; none while nothing is refused."""
    metrics = Metrics("1")
    seen, moment = view(), Moment(1.0, 1.0)
    refusal = Outcome.kept(CandidateRefused([problem], "f" * 12), CURRENT)
    refused = replace(seen, passes=seen.passes.after(refusal, moment, 0.1))
    told(metrics, seen, refused)
    assert shown(metrics, "resentry_candidate_refused") == {(key,): 1}
    good = refused.passes.after(Outcome.unchanged(CURRENT, ()), moment, 0.1)
    told(metrics, refused, replace(seen, passes=good))
    assert shown(metrics, "resentry_candidate_refused") == {}
