"""The chain: the state of each stage, and the first broken one."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from agent.domain.outcome import Outcome
from agent.domain.passes import Moment, Passes
from agent.domain.receiver import Delivery
from agent.domain.rollout import LiveTarget, Rollout, assess
from agent.domain.value import replace
from agent.domain.view import Known, View
from agent.domain.wishes import OPERATOR, Held, Wishes
from agent.errors import (
    AgentError,
    CandidateRefused,
    CandidateWaits,
    PublishError,
    SourceDenied,
    SourceDown,
    SourceMissing,
)
from agent.observe.document import state, status, whole
from agent.observe.results import StatusResult
from resentry.answers import Answer
from resentry.contract import Holder, Receipt, Snapshot, fingerprint

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
CURRENT = Snapshot(
    {"SENTRY_DSN": DSN, "SENTRY_SAMPLE_RATE": 0.5},
    revision="a" * 12,
    sequence=7,
    published_at="2026-11-24T06:00:00.000Z",
    provenance={"SENTRY_DSN": {"source": "vault", "path": "secret/lms", "version": 3}},
)
GOOD = Outcome.unchanged(CURRENT, ())
TUNED = {"path": "/etc/tuning", "state": "in force", "watch": "poll", "keys": []}
Look = Callable[..., dict[str, tuple[str, bool]]]


def answered(kind: str) -> Answer:
    """What the DSN's server answered last."""
    accepted_at = "2026-01-01T00:00:00Z" if kind == "accepted" else None
    since = "2026-01-01T00:00:00Z"
    return Answer(fingerprint(DSN), kind, None, since, accepted_at)


def stages(result: StatusResult) -> dict[str, tuple[str, bool]]:
    """Each stage's state, and whether it is the first broken one."""
    return {stage.stage: (stage.state, stage.first_broken) for stage in result.chain}


@pytest.fixture
def look(receipt: Callable[..., Receipt]) -> Look:
    """The chain after a pass, with a process of such a receipt."""

    def ask(
        outcome: Outcome = GOOD,
        *,
        current: Snapshot | None = CURRENT,
        late: bool = False,
        deliveries: tuple[Delivery, ...] = (),
        held: Held | None = None,
        **fields: Any,
    ) -> dict[str, tuple[str, bool]]:
        runs = {"revision": "a" * 12, "sequence": 7, **fields}
        rollout = assess([LiveTarget(receipt(**runs), 0)], current, late=late)
        passes = Passes(0.0).after(outcome, Moment(1.0, 1.0), 0.1)
        known = Known(current, wishes=Wishes(held=held))
        view = View(known, passes, 0.0, rollout, deliveries=deliveries)
        envelope = whole(view)
        assert envelope.result is not None
        for stage in envelope.result.chain:
            assert stage.sentence
            assert (stage.state == "broken") <= bool(stage.hint), stage
        return stages(envelope.result)

    return ask


def test_a_healthy_chain_has_no_broken_stage(look: Look) -> None:
    """Each stage is ok, or not in use."""
    seen = look(answers=(answered("accepted"),))
    assert {state for state, _ in seen.values()} == {"ok", "off"}
    assert [*seen] == [
        *("source", "values", "checks", "publish"),
        *("notify", "confirm", "drain", "arrive"),
    ]


@pytest.mark.parametrize("kind", ["refused", "limited", "failed", "unreached"])
def test_a_dsn_that_its_server_refuses_is_the_broken_link(
    look: Look, kind: str
) -> None:
    """Each process runs it, and no event arrives."""
    seen = look(answers=(answered(kind),))
    assert seen["arrive"] == ("broken", True)
    assert look()["arrive"] == ("unknown", False)  # nothing was sent yet


@pytest.mark.parametrize(
    "silent",
    [
        {"values": {"SENTRY_SAMPLE_RATE": 0.0}, "dsn": fingerprint(DSN)},
        {"values": {"SENTRY_SAMPLE_RATE": 1.0}, "foreign": True},
    ],
)
def test_a_role_that_sends_no_errors_is_the_broken_link(
    look: Look, silent: dict[str, Any]
) -> None:
    """Whatever was accepted before: its rate is 0, or the application's client runs."""
    seen = look(answers=(answered("accepted"),), **silent)
    assert seen["arrive"] == ("broken", True)


def test_a_role_that_is_switched_off_on_purpose_is_not_broken(look: Look) -> None:
    """Celery's own switch is no fault."""
    off = {"SENTRY_ENABLE_FOR_CELERY": False, "SENTRY_SAMPLE_RATE": 0.0}
    seen = look(answers=(answered("accepted"),), role="celery", values=off)
    assert seen["arrive"] == ("ok", False)


@pytest.mark.parametrize(
    ("error", "stage"),
    [
        (SourceDown("Vault is sealed", "unseal it"), "source"),
        (SourceDenied("Vault refuses the token", "renew it"), "source"),
        (SourceMissing("there is no such secret", "write it"), "source"),
        (AgentError("a bug", "report it"), "source"),
        (CandidateRefused(["a rate of 7"], "f" * 12), "values"),
        (PublishError("the disk is full", "make room"), "publish"),
    ],
)
def test_what_a_pass_fails_at_is_the_first_broken_stage(
    look: Look, error: AgentError, stage: str
) -> None:
    """Processes go on with what is published."""
    seen = look(Outcome.kept(error, CURRENT))
    assert {name for name, (_, first) in seen.items() if first} == {stage}
    assert seen[stage] == ("broken", True)
    assert seen["confirm"][0] == "ok"


def test_a_candidate_that_waits_for_its_check_is_not_broken(look: Look) -> None:
    """It is not ok either."""
    seen = look(Outcome.kept(CandidateWaits("no verdict yet", "f" * 12), CURRENT))
    assert seen["checks"] == ("waiting", False)
    assert not any(first for _, first in seen.values())


def test_a_held_rollback_is_named_where_it_works(look: Look) -> None:
    """The source is well, and yet its values are not published."""
    seen = look(
        Outcome.held(Held(CURRENT, {}), CURRENT, CURRENT, ()), held=Held(CURRENT, {})
    )
    assert (seen["source"][0], seen["publish"][0]) == ("ok", "held")
    just_now = look(held=Held(CURRENT, {}))  # before the next pass
    assert just_now["publish"][0] == "held"


@pytest.mark.parametrize(
    ("fields", "late", "confirm", "drain"),
    [
        ({"sequence": 6}, False, "waiting", "unknown"),
        ({"sequence": 6}, True, "broken", "unknown"),
        ({"sequence": 6, "refused": ("a" * 12, 7)}, False, "broken", "unknown"),
        ({"holders": (Holder("otlp", "b" * 12),)}, False, "ok", "waiting"),
    ],
)
def test_what_processes_say_is_seen(
    look: Look, fields: dict[str, Any], *, late: bool, confirm: str, drain: str
) -> None:
    """One that waits, is overdue, has refused, or still sends by an older DSN."""
    seen = look(late=late, **fields)
    assert (seen["confirm"][0], seen["drain"][0]) == (confirm, drain)


def test_the_slowest_swap_is_told_with_its_process(
    receipt: Callable[..., Receipt],
) -> None:
    """So that somebody can go and look at it."""
    receipts = (receipt(pid=7, swap_ms=20.4), receipt(pid=8, swap_ms=3.0))
    targets = [
        LiveTarget(each._replace(revision="a" * 12, sequence=7), 0) for each in receipts
    ]
    rollout = assess(targets, CURRENT, late=False)
    result = whole(View(Known(CURRENT), Passes(0.0), 0.0, rollout)).result
    assert result is not None
    (confirm,) = (stage for stage in result.chain if stage.stage == "confirm")
    assert confirm.sentence.endswith("; the slowest swap took 20 ms (api pid 7)")


def test_a_receiver_that_cannot_be_notified_is_seen(look: Look) -> None:
    """Although processes do not need it."""
    away = Delivery("hooks.example.org", failures=3, error="no answer", since=1.0)
    assert look(deliveries=(away,))["notify"] == ("broken", True)
    waits = replace(away, failures=0, error=None)
    assert look(deliveries=(waits,))["notify"][0] == "waiting"


def test_silence_is_no_yes() -> None:
    """Without a pass, a process or an agent, nothing is ok that nobody has seen."""
    nobody = assess([], None, late=False)
    new = View(Known(), Passes(0.0), 0.0, nobody)
    seen = stages(status("running", None, nobody, state(new)))
    assert "ok" not in {state for state, _ in seen.values()}
    done = replace(new, passes=Passes(0.0).after(GOOD, Moment(1.0, 1.0), 0.1))
    rollout = Rollout("waiting", ())
    dead = stages(status("not running", CURRENT, rollout, state(done)))
    assert dead["source"] == ("broken", True)
    stuck = stages(status("not responding", CURRENT, rollout, state(done)))
    assert stuck["source"] == ("broken", True)
    unknown = stages(status("unknown", CURRENT, rollout, state(done)))
    assert unknown["source"][0] == "unknown"
    assert unknown["confirm"][0] == "waiting"


def test_the_chain_is_in_the_document(look: Look) -> None:
    """Of `status` and of the page, from one function."""
    look()
    nobody = assess([], None, late=False)
    result = status("running", CURRENT, nobody, {"timeline": []})
    assert len(msgspec.to_builtins(result)["chain"]) == 8


@pytest.mark.parametrize("form", ["/etc/tuning", "/etc/tuning/{}"])
@pytest.mark.parametrize("more", [{}, {"source": "operator", "held": "f" * 12}])
def test_a_tuning_file_is_one_place(form: str, more: dict[str, str]) -> None:
    """Whatever its form, and also while a rollback is held; an operator is no place."""
    tuned = {
        name: {"source": "tuning", "path": form.format(name), **more}
        for name in ("SENTRY_SAMPLE_RATE", "RESENTRY_RULES")
    }
    both = {**CURRENT.provenance["SENTRY_DSN"], "tuning": "/etc/tuning/RESENTRY_ROLES"}
    origins = {**CURRENT.provenance, **tuned, "RESENTRY_CEILINGS": OPERATOR}
    current = replace(CURRENT, provenance={**origins, "RESENTRY_ROLES": both})
    result = status("running", current, Rollout("waiting", ()), {"tuning": TUNED})
    stage = next(stage for stage in result.chain if stage.stage == "values")
    assert stage.sentence == (
        "2 settings from secret/lms version 3, the tuning file /etc/tuning"
    )
