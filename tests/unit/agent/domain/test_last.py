"""What is told of processes that have ended."""

from collections.abc import Callable

import pytest

from agent.domain.last import LastProcess, ended, last_accepted, last_processes
from agent.domain.passes import Passes
from agent.domain.rollout import ENDED_HINT, LiveTarget, Rollout, assess
from agent.domain.timeline import followed
from agent.domain.view import Known, View
from agent.observe.document import decode_state, encode_state, status, whole
from agent.observe.results import StatusResult
from resentry.answers import Answer
from resentry.contract import Receipt, Snapshot, fingerprint

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
CURRENT = Snapshot({"SENTRY_DSN": DSN}, revision="a" * 12, sequence=7)
NOW = 1_800_000_000.0
AT = "2027-01-15T08:00:00Z"
ANSWER = Answer(fingerprint(DSN), "accepted", 200, AT, AT, accepted=1)


@pytest.fixture
def rollout(receipt: Callable[..., Receipt]) -> Callable[..., Rollout]:
    """A rollout in which processes of these roles run."""

    def make(*roles: str) -> Rollout:
        runs = {"revision": "a" * 12, "sequence": 7, "answers": (ANSWER,)}
        made = [
            LiveTarget(receipt(id=f"{n:016x}", role=role, pid=n, **runs), 0)
            for n, role in enumerate(roles, 1)
        ]
        return assess(made, CURRENT, late=True)

    return make


def shown(view: View) -> StatusResult:
    result = whole(view).result
    assert result is not None
    return result


def test_when_no_process_is_left_the_last_ones_are_named(
    rollout: Callable[..., Rollout],
) -> None:
    """Also after a restart of the agent, and when the volume alone is read."""
    new = View(Known(CURRENT), Passes(0.0), 0.0, rollout())
    seen = followed(new, View(Known(CURRENT), Passes(0.0), 0.0, rollout("api")), NOW)
    nobody = followed(seen, View(Known(CURRENT), Passes(0.0), 0.0, rollout()), NOW + 5)
    result = shown(nobody)
    assert (
        result.rollout.sentence
        == "no process is left: api pid 1 ended at 2027-01-15T08:00:05Z"
    )
    assert result.rollout.hint == ENDED_HINT
    stages = {stage.stage: stage for stage in result.chain}
    assert stages["confirm"].since is None
    assert f"accepted last at {AT}" in stages["arrive"].sentence
    assert not stages["arrive"].hint  # no process could send a test event

    saved = decode_state(encode_state(nobody, {}))
    assert status("unknown", CURRENT, rollout(), saved).ended == result.ended
    # A command that looks before the agent does knows of no time.
    early = decode_state(encode_state(seen, {}))
    (unseen,) = status("running", CURRENT, rollout(), early).ended
    assert unseen.sentence == "api pid 1 has ended"


def test_a_role_without_a_process_is_told_until_it_has_one(
    rollout: Callable[..., Rollout],
) -> None:
    """The first time of its end stays."""
    both = last_processes((), rollout("api", "celery"), NOW)
    assert ended(both, rollout("api", "celery")) == ()
    one = last_processes(both, rollout("api"), NOW)
    later = last_processes(one, rollout("api"), NOW + 60)
    gone = LastProcess(role="celery", name="celery pid 2", ended_at=AT)
    assert ended(later, rollout("api")) == (gone,)
    again = last_processes(later, rollout("api", "celery"), NOW + 90)
    assert ended(again, rollout("api", "celery")) == ()


def test_nobody_is_called_ended_while_a_receipt_cannot_be_read(
    rollout: Callable[..., Rollout],
) -> None:
    """It may be that one's."""
    seen = last_processes((), rollout("api"), NOW)
    blind = assess([LiveTarget.unreadable("b" * 16, 9, "x")], CURRENT, late=True)
    assert last_processes(seen, blind, NOW) == seen
    assert ended(seen, blind) == ()
    unsure = assess([], CURRENT, late=True, unknown="too many files")
    assert ended(seen, unsure) == ()


def test_what_is_kept_has_a_bound(rollout: Callable[..., Rollout]) -> None:
    """Whoever may write receipts can name any number of roles."""
    kept = last_processes((), rollout(*map(str, range(99))), NOW)
    kept = last_processes(kept, rollout(*map(str, range(100, 130))), NOW)
    assert len(kept) == 20
    assert not ended(kept, rollout(*map(str, range(100, 130))))
    other = Snapshot({"SENTRY_DSN": DSN.replace("/42", "/43")})
    first = last_accepted({}, CURRENT, rollout("api"), NOW)
    assert last_accepted(first, CURRENT, rollout(), NOW) == first == {ANSWER.dsn: NOW}
    assert last_accepted(first, other, rollout(), NOW) == {}
