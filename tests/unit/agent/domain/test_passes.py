"""What passes come to, and what health checks answer of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.rollout import assess
from agent.domain.view import Known, View
from agent.errors import CandidateRefused, SourceDenied, SourceDown
from agent.observe import health
from agent.observe.document import decode_state, state
from agent.settings import Settings, load
from resentry.contract import Snapshot

CURRENT = Snapshot({}, revision="a" * 12, sequence=7)
PUBLISHED = Outcome.published(CURRENT, ())
UNCHANGED = Outcome.unchanged(CURRENT, ())
FAILED = Outcome.kept(SourceDown("Vault is sealed"), CURRENT)
DENIED = Outcome.kept(SourceDenied("Vault refuses it"), CURRENT)
BOOSTED = Outcome.kept(
    SourceDown("Vault is sealed"), Snapshot({}, revision="b" * 12, sequence=8)
)
NEVER = Outcome.kept(SourceDown("Vault is sealed"), None)
BEGAN = 1_800_000_000.0


def after(*outcomes: Outcome, passes: Passes | None = None) -> list[Passes]:
    """The passes after each of these, which end a second apart."""
    seen = [passes or Passes(0.0)]
    for at, outcome in enumerate(outcomes, 1):
        seen.append(seen[-1].after(outcome, Moment(BEGAN + at, float(at)), 0.02))
    return seen[1:]


def view(*outcomes: Outcome, has_snapshot: bool = False) -> View:
    passes = [Passes(0.0), *after(*outcomes)][-1]
    if outcomes:
        has_snapshot = outcomes[-1].revision is not None
    known = Known(CURRENT if has_snapshot else None)
    return View(known, passes, 0.0, assess([], None, late=False))


def settings(**values: Any) -> Settings:
    given = {"poll_seconds": 60.0, "startup_seconds": 20.0, "pass_seconds": 15.0}
    return load({**given, **values}, {}).settings


@pytest.mark.parametrize(
    ("outcomes", "ready"),
    [([], False), ([PUBLISHED], True), ([UNCHANGED], True), ([NEVER], False)],
)
def test_ready_is_a_snapshot_and_a_source_that_was_read(
    outcomes: list[Outcome], *, ready: bool
) -> None:
    """Without either the agent is not ready, and says which it lacks."""
    answer, sentence = health.ready(view(*outcomes), settings(), 2.0)
    assert answer is ready
    assert sentence


def test_a_snapshot_of_an_earlier_agent_alone_is_not_ready() -> None:
    """What stands on the volume may be old: the source was not read yet."""
    assert health.ready(view(has_snapshot=True), settings(), 1.0) == (
        False,
        "an earlier agent has published; this one has not read the source yet",
    )
    assert health.ready(view(FAILED), settings(), 1.0)[0] is False


def test_readiness_ends_when_the_source_was_not_read_for_long() -> None:
    """Three intervals and half a minute without success are too long."""
    known = view(PUBLISHED, FAILED)  # read well at 1
    assert health.ready(known, settings(), 1 + 3 * 60 + 29)[0] is True
    assert health.ready(known, settings(), 1 + 3 * 60 + 31)[0] is False


def test_an_agent_lives_while_passes_end_well_or_not() -> None:
    """An agent whose Vault is away for a year is healthy."""
    limit = 3 * 60 + 2 * 15
    assert health.live(view(), settings(), limit - 1)[0] is True
    assert health.live(view(), settings(), limit + 1)[0] is False
    assert health.live(view(NEVER), settings(), limit)[0] is True


def test_an_agent_that_was_asked_to_wait_lives() -> None:
    """A Retry-After of five minutes may be longer than three intervals."""
    asked = Outcome.kept(SourceDown("slow down", retry_after=300.0), CURRENT)
    limit = 1 + 3 * 60 + 2 * 15 + 300
    assert health.live(view(asked), settings(), limit - 1)[0] is True
    assert health.live(view(asked), settings(), limit + 1)[0] is False


@pytest.mark.parametrize(
    ("has_snapshot", "waited", "started", "says"),
    [
        (True, 0.0, True, "a snapshot is published"),
        (False, 19.0, False, "waiting for the first snapshot"),
        (False, 20.0, True, "environment variables"),
    ],
)
def test_applications_may_start_with_a_snapshot_or_after_a_while(
    *, has_snapshot: bool, waited: float, started: bool, says: str
) -> None:
    """The wait for the first snapshot is bounded, and the answer says which it is."""
    answer = health.started(view(has_snapshot=has_snapshot), settings(), waited)
    assert answer[0] is started
    assert says in answer[1]


def test_an_outage_with_ever_new_reasons_has_a_limit_of_lines() -> None:
    """A new error is logged nevertheless, and nothing is remembered without end."""
    outcomes = [Outcome.kept(SourceDown(f"reason {n}"), CURRENT) for n in range(1000)]
    passes = after(*outcomes, DENIED, DENIED, UNCHANGED)
    news = [one.is_news for one in passes]
    assert news == [*[True] * 20, *[False] * 980, True, False, True]
    assert max(len(one._logged) for one in passes) == 21


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([PUBLISHED], [True]),
        ([PUBLISHED, UNCHANGED, UNCHANGED], [True, True, False]),
        ([FAILED, FAILED, UNCHANGED], [True, False, True]),
        ([FAILED, DENIED, FAILED, DENIED], [True, True, False, False]),
        ([FAILED, BOOSTED, BOOSTED, FAILED], [True, True, False, False]),
    ],
)
def test_the_same_outcome_twice_is_no_news(
    outcomes: list[Outcome], expected: list[bool]
) -> None:
    """An outage of a night is one line in the log for each reason, not thousands."""
    assert [passes.is_news for passes in after(*outcomes)] == expected


def test_an_outage_has_one_beginning_for_each_error() -> None:
    """However often it alternates with another: else no alert would ever be due."""
    seen = after(PUBLISHED, FAILED, DENIED, FAILED, DENIED, UNCHANGED)
    assert [passes.since for passes in seen] == [BEGAN + n for n in (1, 2, 3, 2, 3, 6)]


def test_the_end_of_an_outage_says_since_when_it_lasted() -> None:
    """Once, with the first good pass."""
    seen = after(PUBLISHED, FAILED, DENIED, UNCHANGED, UNCHANGED)
    began = state(view(PUBLISHED, FAILED))["since"]
    outages = [passes.outage for passes in seen]
    assert outages == ["", "", "", f"passes had failed since {began}", ""]


def test_the_end_of_a_refusal_says_that_it_was_one() -> None:
    """The source could be read all the time."""
    refused = Outcome.kept(CandidateRefused(["SENTRY_DSN is bad"], "f" * 12), None)
    (_, _, good) = after(PUBLISHED, refused, UNCHANGED)
    began = state(view(PUBLISHED, refused))["since"]
    assert good.outage == f"candidates had been refused since {began}"


def test_a_restart_does_not_begin_an_outage_anew() -> None:
    """The next agent knows since when the same error stands, and the last success."""
    before = state(view(PUBLISHED, FAILED))
    resumed = Passes.resumed(decode_state(json.dumps(before).encode()), 100.0)
    assert resumed.last_success == BEGAN + 1

    (failed, good) = after(FAILED, UNCHANGED, passes=resumed)

    assert (failed.last_success, failed.since) == (BEGAN + 1, BEGAN + 2)
    assert failed.read_at is None
    assert good.outage == f"passes had failed since {before['since']}"


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{",
        b"[1]",
        b"7",
        b'{"last_success_at": 7}',
        b'{"last_success_at": "yesterday"}',
        b'{"error": "SourceDown", "failures": 1, "since": null}',
        b'{"error": ["x"], "failures": 1, "since": "2026-11-24T06:00:00Z"}',
    ],
)
def test_a_state_that_cannot_be_read_is_no_state(body: bytes | None) -> None:
    """An agent starts on any volume."""
    resumed = Passes.resumed(decode_state(body), 0.0)
    (failed,) = after(FAILED, passes=resumed)
    assert failed.since == BEGAN + 1
    assert failed.last_success is None


def test_failures_are_counted_until_the_next_success() -> None:
    """The count drives the back-off."""
    seen = after(FAILED, FAILED, UNCHANGED, FAILED)
    assert [passes.failures for passes in seen] == [1, 2, 0, 1]


def test_a_restarted_agent_counts_and_logs_a_failure_anew() -> None:
    """Only the beginning of the outage and the last success outlive the restart."""
    before = state(view(FAILED, FAILED))
    resumed = Passes.resumed(decode_state(json.dumps(before).encode()), 100.0)
    assert (before["failures"], resumed.failures) == (2, 0)

    (failed,) = after(FAILED, passes=resumed)

    assert (failed.failures, failed.is_news) == (1, True)
