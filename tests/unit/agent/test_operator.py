"""Refresh, rollback and boost, carried out on a real volume; only Vault is missing."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from living import living
from structlog.testing import capture_logs

from agent.daemon import Daemon
from agent.domain.wishes import Wishes, lasting_revision
from agent.errors import (
    AgentError,
    PublishError,
    RequestUnknown,
    RollbackHeld,
    SourceDown,
    WishRefused,
)
from agent.pipeline import Pipeline
from lab.process import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agent.parts import Parts
    from agent.publish.volume import Volume
    from resentry.contract import Receipt, Snapshot

pytestmark = pytest.mark.slow


KEY = "c0ffee00c0ffee00c0ffee00c0ffee00"


def dsn(project: int) -> str:
    return f"https://{KEY}@sentry.example.org/{project}"


class Agent:
    """A daemon in a thread, without its socket; the source is the test's own."""

    def __init__(self, parts: Parts, shelf: Any) -> None:
        self.shelf = shelf
        self.daemon = Daemon(parts, "1")
        self._thread = threading.Thread(target=self.daemon.run)
        self._thread.start()

    def ask(self, command: str, **values: Any) -> dict[str, Any]:
        return self.daemon.ask({"command": command, **values})

    def source(self, project: int, **more: Any) -> dict[str, Any]:
        """Let the source hold that DSN, and run a pass."""
        self.shelf.values = {"SENTRY_DSN": dsn(project), **more}
        return self.ask("refresh")

    @property
    def current(self) -> Snapshot:
        """What is published."""
        current = self.daemon.view.known.current
        assert current is not None
        return current

    @property
    def wishes(self) -> Wishes:
        """What the agent has been asked for."""
        return self.daemon.view.known.wishes

    @property
    def project(self) -> int:
        """The project of the published DSN."""
        return int(self.current.settings["SENTRY_DSN"].rpartition("/")[2])

    @property
    def rollout(self) -> str:
        state: str = self.daemon.read().rollout.state
        return state

    def stop(self) -> None:
        self.daemon.stop()
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def agent(
    parts: Callable[..., Parts], shelf: Any, tmp_path: Path
) -> Iterator[Callable[..., Agent]]:
    """Make an agent; a second one is the same after a restart."""
    made: list[Agent] = []

    def make(**values: Any) -> Agent:
        if made:
            made.pop().stop()
        shelf.error = None
        # The first pass comes with the first refresh, and none between two requests.
        fixed = {
            "http_listen": "off",
            "probes_listen": "off",
            "start_jitter_seconds": 60,
        }
        values = {**fixed, **values}
        ready = parts(control=str(tmp_path / "control" / "socket"), **values)
        if ready.volume.is_open() is not True:
            ready.volume.open()
        made.append(Agent(ready, shelf))
        return made[-1]

    yield make
    for one in made:
        one.stop()


# Refresh


def test_refresh_answers_what_the_pass_did(agent: Callable[..., Agent]) -> None:
    """Outcome, sentence and exit code are those of `once`."""
    one = agent()
    answer = one.source(1)
    assert (answer["outcome"], answer["sequence"], answer["code"]) == (
        "published",
        1,
        0,
    )
    assert one.ask("refresh")["outcome"] == "unchanged"
    one.shelf.error = SourceDown("Vault is away")
    answer = one.ask("refresh")
    assert (answer["outcome"], answer["code"]) == ("failed", 69)
    assert "Vault is away" in answer["sentence"]


def test_nothing_is_written_when_nothing_has_changed(
    parts: Callable[..., Parts], shelf: Any, volume: Volume
) -> None:
    """A pass that finds the old values leaves every file and link as it was."""
    shelf.values = {"SENTRY_DSN": dsn(1)}
    pipeline = Pipeline(parts())

    def run() -> str:
        reading = pipeline.read(time.monotonic() + 5)
        return pipeline.publish(reading, pipeline.known.wishes).kind

    def look() -> dict[str, tuple[int, int, int]]:
        found = {}
        for folder, names, files in os.walk(volume.directory):
            for name in (*names, *files):
                at = os.lstat(f"{folder}/{name}")
                found[f"{folder}/{name}"] = (at.st_ino, at.st_mtime_ns, at.st_ctime_ns)
        return found

    assert run() == "published"
    before = look()
    assert run() == "unchanged"
    assert before == look()


# Rollback


def test_a_rollback_goes_to_the_revision_before_and_holds_it(
    agent: Callable[..., Agent],
) -> None:
    """It is a new sequence of the old revision, and passes do not undo it.

    A `refresh` fails meanwhile: what the source holds is not published.
    """
    one = agent()
    first = one.source(1)["revision"]
    one.source(2)
    answer = one.ask("rollback")
    assert (answer["revision"], answer["sequence"], one.project) == (first, 3, 1)
    again = one.ask("refresh")
    assert (again["outcome"], again["revision"]) == ("held", first)
    assert (again["code"], again["sequence"]) == (RollbackHeld.exit_code, 3)
    assert f"a rollback holds revision {first}: what the source" in again["sentence"]
    # The source still holds what was undone: its end alone would publish that again.
    assert again["hint"].startswith("correct SENTRY_DSN at the source, then: ")
    assert again["hint"].endswith("rollback --resume would publish it again")
    assert one.ask("resume")["code"] == one.ask("refresh")["code"] == 0


def test_a_rollback_holds_after_a_restart_and_without_the_source(
    agent: Callable[..., Agent],
) -> None:
    """What was asked for stands on the volume."""
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("rollback")
    two = agent()
    assert two.ask("refresh")["outcome"] == "held"
    two.shelf.error = SourceDown("Vault is away")
    assert (two.ask("refresh")["outcome"], two.project) == ("failed", 1)


def test_a_rollback_does_not_wait_for_the_source(agent: Callable[..., Agent]) -> None:
    """Vault may be what is wrong."""
    one = agent()
    one.source(1)
    one.source(2)
    one.shelf.error = SourceDown("Vault is away")
    one.ask("rollback")
    assert one.project == 1


@pytest.mark.parametrize(("now", "project"), [(2, 1), (3, 3), (1, 1)])
def test_a_rollback_ends_when_the_source_drops_the_value(
    agent: Callable[..., Agent], now: int, project: int
) -> None:
    """A new value, or the old one, ends it; anything else changes nothing."""
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("rollback")
    one.source(now, SENTRY_ENVIRONMENT="production")
    assert project == one.project
    assert (one.wishes.held is None) == (now != 2)


def test_once_ended_a_rollback_does_not_come_back(agent: Callable[..., Agent]) -> None:
    """The value that was rolled back from may be published later."""
    one = agent()
    for project in (1, 2):
        one.source(project)
    one.ask("rollback")
    one.source(3)
    assert one.source(2)["outcome"] == "published"
    assert one.project == 2


def test_resume_publishes_what_the_source_holds(agent: Callable[..., Agent]) -> None:
    """And without a rollback there is nothing to resume."""
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("rollback")
    assert one.ask("resume")["outcome"] == "published"
    assert one.project == 2
    with pytest.raises(WishRefused, match="no rollback is held"):
        one.ask("resume")


def test_a_second_rollback_goes_further_back(agent: Callable[..., Agent]) -> None:
    """Not to and fro: what was rolled back from is not gone back to unless named."""
    one = agent()
    for project in (1, 2, 3):
        one.source(project)
    one.ask("rollback")
    assert one.project == 2
    one.ask("rollback")
    assert one.project == 1
    assert one.ask("refresh")["outcome"] == "held"
    with pytest.raises(WishRefused, match="that the held rollback undoes") as no:
        one.ask("rollback")
    assert no.value.hint.startswith("name a revision to publish it nevertheless")
    assert one.project == 1


def test_a_named_revision_is_gone_back_to(agent: Callable[..., Agent]) -> None:
    """Any of the last ten; then the one that is published is refused."""
    one = agent()
    first = one.source(1)["revision"]
    for project in (2, 3):
        one.source(project)
    one.ask("rollback", revision=first)
    assert one.project == 1
    with pytest.raises(WishRefused, match="is the published one already"):
        one.ask("rollback", revision=first)
    with pytest.raises(WishRefused, match=r"0{12} is not one of the last ten\Z"):
        one.ask("rollback", revision="0" * 12)
    one.ask("boost", traces=1.0, seconds=900)
    with pytest.raises(WishRefused, match=f"{first} has the same settings as"):
        one.ask("rollback", revision=first)


def test_a_request_with_a_known_id_is_not_carried_out_again(
    agent: Callable[..., Agent],
) -> None:
    """Who repeats a rollback without an answer goes back once, not twice."""
    one = agent()
    for project in (1, 2, 3):
        one.source(project)
    first = one.ask("rollback", request_id="a")
    assert one.ask("rollback", request_id="a") == first
    assert (one.project, one.current.sequence) == (2, 4)
    one.ask("rollback", request_id="b")
    assert one.project == 1


def test_a_refused_request_is_refused_again_by_its_id(
    agent: Callable[..., Agent],
) -> None:
    """Also if it would be carried out now."""
    one = agent()
    one.source(1)
    for project in (1, 2):
        one.source(project)
        with pytest.raises(WishRefused, match="other settings"):
            one.ask("rollback", request_id="a")


def test_a_rollback_that_cannot_be_written_leaves_no_wish(
    agent: Callable[..., Agent], volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator was told that it failed: no later pass may do it, nor a restart."""
    one = agent()
    for project in (1, 2):
        one.source(project)

    def fail(*_: object) -> None:
        raise PublishError("cannot write: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(volume, "publish", fail)
        answer = one.ask("rollback")
    assert answer["code"] == PublishError.exit_code
    assert "nothing was changed: try again" in answer["notes"]
    assert one.wishes == Wishes()
    one.ask("refresh")
    assert one.project == 2
    two = agent()
    two.ask("refresh")
    assert (two.project, two.wishes) == (2, Wishes())


def test_a_rollback_that_was_done_is_answered_so_whatever_failed_after_it(
    agent: Callable[..., Agent], volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The volume is the truth: the switch was made, a later step failed."""
    one = agent()
    for project in (1, 2):
        one.source(project)
    publish = volume.publish

    def fail_late(snapshot: Snapshot) -> Snapshot:
        publish(snapshot)
        raise PublishError("cannot flush")

    with monkeypatch.context() as patched:
        patched.setattr(volume, "publish", fail_late)
        answer = one.ask("rollback")
    assert (answer["code"], answer["outcome"]) == (0, "published")
    assert any("cannot flush" in note for note in answer["notes"])
    one.ask("refresh")
    assert one.project == 1


def test_an_empty_match_is_no_match(agent: Callable[..., Agent]) -> None:
    """A variable that is not set must not boost everything."""
    one = agent()
    one.source(1)
    with pytest.raises(WishRefused, match="--match must be text"):
        one.ask("boost", traces=1.0, seconds=900, match="")


def test_boosts_are_no_history(agent: Callable[..., Agent]) -> None:
    """Any number of boosts leaves what can be rolled back to."""
    one = agent()
    for project in (1, 2):
        one.source(project)
    for _ in range(12):
        one.ask("boost", traces=1.0, seconds=900)
        one.ask("end", id=one.current.boosts[0].id)
    one.ask("boost", traces=1.0, seconds=900)
    one.ask("rollback")
    assert one.project == 1
    assert len(one.current.boosts) == 1


def test_requests_are_logged_and_counted(agent: Callable[..., Agent]) -> None:
    """Who asked for what, and what it came to."""
    one = agent()
    for project in (1, 2):
        one.source(project)
    with capture_logs() as lines:
        one.ask("rollback")
        with pytest.raises(WishRefused):
            one.ask("end", id="none")
    asked = {line["asked"]: line["log_level"] for line in lines if "asked" in line}
    assert asked == {"rollback": "info", "end": "warning"}
    metrics = one.daemon._metrics
    assert metrics is not None
    text = metrics.render().decode()
    for request, outcome in (("rollback", "published"), ("end", "denied")):
        labels = f'{{outcome="{outcome}",request="{request}"}}'
        assert f"resentry_requests_total{labels} 1.0" in text
    assert 'request="refresh"' in text


def test_without_anything_earlier_a_rollback_is_refused(
    agent: Callable[..., Agent],
) -> None:
    """On an empty volume, and on one that knows one revision."""
    one = agent()
    with pytest.raises(WishRefused, match="nothing is published"):
        one.ask("rollback")
    one.source(1)
    with pytest.raises(WishRefused, match="none of the last ten revisions"):
        one.ask("rollback")


def test_a_rollback_sees_through_boosts(agent: Callable[..., Agent]) -> None:
    """A boost makes revisions of the same settings: they are not `the one before`."""
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("boost", traces=1.0, seconds=900)
    answer = one.ask("rollback")
    assert one.project == 1
    assert len(answer["boosts"]) == 1
    one.ask("end", id=answer["boosts"][0]["id"])
    assert one.project == 1
    assert one.current.boosts == ()


def test_a_key_that_vanished_comes_back_with_a_rollback(
    agent: Callable[..., Agent],
) -> None:
    """Its absence is what was rolled back from."""
    one = agent()
    one.source(1, SENTRY_RELEASE="1")
    one.source(1)
    one.ask("rollback")
    assert one.ask("refresh")["outcome"] == "held"
    assert one.current.settings["SENTRY_RELEASE"] == "1"


def test_what_the_policy_of_now_forbids_is_not_gone_back_to(
    agent: Callable[..., Agent],
) -> None:
    """A host that has left the allow-list stays out."""
    one = agent()
    one.source(1)
    one.source(2)
    two = agent(allowed_dsns=("production=sentry.example.org/2",))
    two.ask("refresh")
    with pytest.raises(WishRefused, match="not an allowed host and project"):
        two.ask("rollback")
    assert two.project == 2


def test_a_held_rollback_that_the_rails_of_now_forbid_is_named(
    agent: Callable[..., Agent],
) -> None:
    """It stays, since the value that it undoes may be worse; each pass says so."""
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("rollback")
    assert one.ask("refresh")["notes"] == []
    two = agent(allowed_dsns=("production=sentry.example.org/2",))
    (refused,) = two.ask("refresh")["notes"]
    assert refused.startswith("the guard rails refuse the held revision ")
    assert "now: SENTRY_DSN is not an allowed" in refused
    assert two.project == 1


def test_what_the_rails_of_now_forbid_is_published_no_more(
    agent: Callable[..., Agent],
) -> None:
    """An earlier agent had judged it. What is published already stays, and is named.

    The source cannot be read, so the guard rails of now have judged nothing yet.
    """
    one = agent()
    one.source(1)
    one.source(2)
    one.ask("rollback")
    two = agent(allowed_dsns=("production=sentry.example.org/1",))
    two.shelf.error = SourceDown("no Vault")
    assert two.ask("refresh")["notes"] == []
    with_rails = two.ask("resume")
    assert with_rails["code"] == 65
    assert "the guard rails refuse the last good revision" in with_rails["sentence"]
    assert (two.project, two.wishes.held is None) == (1, False)

    three = agent(allowed_dsns=("production=sentry.example.org/3",))
    three.shelf.error = SourceDown("no Vault")
    (named,) = three.ask("refresh")["notes"]
    assert named.startswith("the guard rails refuse the held revision")
    # More traces are no other DSN
    assert three.ask("boost", seconds=60, traces=1.0)["code"] == 0
    assert three.project == 1


def test_a_lost_volume_gets_nothing_that_the_rails_of_now_forbid(
    agent: Callable[..., Agent], volume: Volume
) -> None:
    """The agent's own memory is no way around the guard rails."""
    one = agent()
    one.source(1)
    os.unlink(f"{volume.directory}/..data")
    volume.published = None  # as after a restart
    two = agent(allowed_dsns=("production=sentry.example.org/2",))
    two.shelf.error = SourceDown("no Vault")
    answer = two.ask("refresh")
    assert (answer["code"], answer["revision"]) == (69, None)
    assert "the guard rails refuse the last good revision" in answer["notes"][0]
    assert not os.path.lexists(f"{volume.directory}/..data")
    two.shelf.error = None
    assert two.source(2)["code"] == 0
    assert two.project == 2


def test_a_boost_ends_if_its_cap_is_lowered(agent: Callable[..., Agent]) -> None:
    """The settings of now count, also for what was asked for before."""
    one = agent()
    one.source(1)
    for traces in (0.9, 0.4):
        one.ask("boost", seconds=600, traces=traces)
    two = agent(boost_cap=0.5)
    two.ask("refresh")
    assert [boost.traces for boost in two.current.boosts] == [0.4]
    assert [boost.traces for boost in two.wishes.boosts] == [0.4]


def test_an_agent_of_another_environment_publishes_the_revision_again(
    agent: Callable[..., Agent],
) -> None:
    """So that every process learns by which environment it was judged."""
    first = agent().source(1)
    two = agent(environment="staging")
    second = two.ask("refresh")
    assert (first["revision"], first["sequence"]) == (second["revision"], 1)
    assert (second["outcome"], second["sequence"]) == ("published", 2)
    assert two.current.judged_by == "staging"
    assert two.ask("refresh")["outcome"] == "unchanged"


@pytest.mark.process
@pytest.mark.parametrize("boosted", [False, True])
def test_what_a_target_refused_is_not_gone_back_to(
    agent: Callable[..., Agent],
    volume: Volume,
    receipt: Callable[..., Receipt],
    *,
    boosted: bool,
) -> None:
    """Also when it was refused together with a boost, and after a restart."""
    one = agent()
    one.source(1)
    refused = one.source(2)["revision"]
    if boosted:
        one.ask("boost", traces=1.0, seconds=900)
    current = one.current
    said = receipt(refused=(current.revision, current.sequence), error="why")
    with living(Path(volume.directory, "receipts"), said):
        state = Path(volume.directory, "agent", "state.json")
        eventually(
            lambda: (
                json.loads(state.read_text())["rejections"]["revisions"] == [refused]
            ),
            what="the refusal, in the agent's memory",
        )
    one.source(3)

    two = agent()
    two.ask("refresh")
    for request in ({}, {"revision": refused}):
        with pytest.raises(WishRefused, match="a process could not apply"):
            two.ask("rollback", **request)
    assert two.project == 3
    assert lasting_revision(current) == refused


@pytest.mark.process
@pytest.mark.parametrize("step", [-86400, 86400])
def test_a_clock_that_is_set_makes_nobody_overdue(
    agent: Callable[..., Agent],
    volume: Volume,
    receipt: Callable[..., Receipt],
    monkeypatch: pytest.MonkeyPatch,
    step: int,
) -> None:
    """The deadline of a rollout is counted in monotonic time."""
    at = time.time() + step
    with living(Path(volume.directory, "receipts"), receipt()):
        agent().source(1)
        monkeypatch.setattr(time, "time", lambda: at)
        one = agent()
        assert one.rollout == "waiting"
        two = agent(confirm_seconds=0.2)
        eventually(lambda: two.rollout == "overdue", what="the deadline")


# Boosts


def test_a_boost_is_published_and_listed_with_what_is_left(
    agent: Callable[..., Agent],
) -> None:
    """For a role and a match, until its end."""
    one = agent()
    one.source(1)
    answer = one.ask(
        "boost", traces=1.0, seconds=900, role="api", match="POST /checkout"
    )
    assert answer["outcome"] == "published"
    (row,) = answer["boosts"]
    assert (row["traces"], row["role"], row["match"]) == (1.0, "api", "POST /checkout")
    assert 890 <= row["left_seconds"] <= 900
    (boost,) = one.current.boosts
    assert (boost.id, boost.role) == (row["id"], "api")


def test_a_boost_survives_a_restart(agent: Callable[..., Agent]) -> None:
    """Its successor finds it, and publishes nothing anew."""
    one = agent()
    one.source(1)
    one.ask("boost", traces=1.0, seconds=900)
    two = agent()
    assert two.ask("refresh")["outcome"] == "unchanged"
    assert len(two.current.boosts) == 1


def test_a_boost_that_has_ended_is_dropped_by_the_next_pass(
    agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary new revision: the one before the boost, also without Vault."""
    one = agent()
    before = one.source(1)["revision"]
    one.ask("boost", traces=1.0, seconds=60)
    at = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: at)
    one.shelf.error = SourceDown("Vault is away")
    answer = one.ask("refresh")
    assert (answer["revision"], answer["sequence"]) == (before, 3)
    day_later = at + 86400
    monkeypatch.setattr(time, "time", lambda: day_later)
    one.ask("boost", traces=0.5, seconds=60)
    assert [boost.traces for boost in one.wishes.boosts] == [0.5]


@pytest.mark.parametrize("past", [True, False])
def test_a_boost_of_the_source_ends_as_well(
    agent: Callable[..., Agent], *, past: bool
) -> None:
    """One that is past already is ignored, not refused."""
    one = agent()
    ends = datetime.now(UTC) + timedelta(seconds=-1 if past else 900)
    boost = {"id": "b1", "traces": 1.0, "until": ends.isoformat()}
    answer = one.source(1, RESENTRY_BOOSTS=[boost])
    assert answer["outcome"] == "published"
    assert len(answer["boosts"]) == (0 if past else 1)


@pytest.mark.slow
def test_so_many_boosts_run_at_once(agent: Callable[..., Agent]) -> None:
    """One more is refused, until another one is ended."""
    one = agent()
    one.source(1)
    for _ in range(50):
        (row, *_) = one.ask("boost", traces=1.0, seconds=900)["boosts"]
    with pytest.raises(WishRefused, match="50 boosts are running already"):
        one.ask("boost", traces=1.0, seconds=900)
    one.ask("end", id=row["id"])
    assert len(one.ask("boost", traces=1.0, seconds=900)["boosts"]) == 50


def test_a_ceiling_is_laid_over_the_source_and_ends(
    agent: Callable[..., Agent],
) -> None:
    """A source's own stays; a rollback undoes neither; what is odd is refused."""
    one = agent()
    one.source(1)
    before = one.source(2, RESENTRY_CEILINGS=[{"traces": 0.5}])["revision"]
    answer = one.ask("throttle", traces="0.01", errors="0.2", seconds=900, role="api")
    own, theirs = answer["ceilings"]
    assert (own["traces"], own["id"], own["left_seconds"]) == (0.5, None, None)
    assert (theirs["traces"], theirs["errors"], theirs["role"]) == (0.01, 0.2, "api")
    assert 890 < theirs["left_seconds"] <= 900
    (kept,) = one.ask("rollback")["ceilings"]
    assert kept == {**theirs, "left_seconds": kept["left_seconds"]}
    one.ask("resume")
    ended = one.ask("end", id=theirs["id"])
    assert ended["revision"] == before
    (note,) = ended["notes"]
    assert note == (
        "ended the ceiling: traces at most 0.01, errors at most 0.2 for everything in api, "
        f"until {theirs['until']}, operator's {theirs['id']}"
    )
    for odd in (
        {},
        {"traces": "2"},
        {"errors": "x"},
        {"traces": 1, "match": "GET /x/{id}"},
    ):
        with pytest.raises(WishRefused):
            one.ask("throttle", seconds=900, **odd)
    with pytest.raises(WishRefused):
        one.ask("throttle", seconds=86401, traces=0.1)


@pytest.mark.process
@pytest.mark.parametrize("command", ["boost", "throttle"])
def test_a_role_that_no_process_has_is_noted(
    agent: Callable[..., Agent],
    receipt: Callable[..., Receipt],
    tmp_path: Path,
    command: str,
) -> None:
    """It may be mistyped. It may also start later, so it is no error."""
    one = agent()
    one.source(1)

    def notes(role: str) -> list[str]:
        answer = one.ask(command, traces=0.1, seconds=900, role=role)
        assert answer["code"] == 0
        return list(answer["notes"])

    assert notes("ipa") == [], "without a process nobody knows"
    with living(tmp_path / "volume" / "receipts", receipt(role="api")):
        eventually(lambda: one.daemon.view.rollout.targets, what="the receipt")
        assert notes("ipa") == [
            "no process here has the role ipa; there are processes of: api"
        ]
        assert notes("api") == []


def test_a_boost_below_a_ceiling_is_noted(agent: Callable[..., Agent]) -> None:
    """Else nobody sees why it changes nothing."""
    one = agent()
    one.source(1, RESENTRY_CEILINGS=[{"traces": 0.5, "role": "api"}, {"errors": 0}])
    one.ask("throttle", traces=0.9, seconds=900, match="GET /pay")

    def notes(traces: float, **more: Any) -> list[str]:
        answer = one.ask("boost", traces=traces, seconds=900, **more)
        return [note.partition(": ")[0] for note in answer["notes"]]

    assert notes(1.0) == []
    assert notes(0.5, role="api") == []
    assert notes(1.0, role="api") == ["a ceiling lowers the boost"]


def test_a_boost_can_be_ended(agent: Callable[..., Agent]) -> None:
    """By its id; one of the source, or nobody's, cannot."""
    one = agent()
    before = one.source(1)["revision"]
    (row,) = one.ask("boost", traces=1.0, seconds=900)["boosts"]
    ended = one.ask("end", id=row["id"])
    assert ended["revision"] == before
    assert ended["notes"][0].startswith("ended the boost: traces 1 for everything in ")
    with pytest.raises(WishRefused, match="was started by a command"):
        one.ask("end", id=row["id"])


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ({"traces": 0.6, "seconds": 60}, "at most 0.5, the cap of boosts"),
        ({"traces": 7, "seconds": 60}, "--traces"),
        ({"traces": float("nan"), "seconds": 60}, "--traces"),
        ({"traces": 0.5, "seconds": 0}, "more than 0 s"),
        ({"traces": 0.5, "seconds": -1}, "more than 0 s"),
        ({"traces": 0.5, "seconds": float("nan")}, "more than 0 s"),
        ({"traces": 0.5, "seconds": 86401}, "at most one day"),
        ({"traces": 0.5, "seconds": 60, "role": "a b"}, "--role"),
        ({"traces": 0.5, "seconds": 60, "role": f"hvs.{'a' * 24}"}, "a Vault token"),
        ({"traces": 0.5, "seconds": 60, "match": 5}, "--match"),
        ({"traces": 0.5, "seconds": 60, "match": "x" * 201}, "--match must be text"),
        ({"traces": 0.5, "seconds": 60, "match": "GET /{id}"}, "--match names a route"),
        ({"traces": "0_1", "seconds": 60}, "--traces"),
        ({"traces": 0.5, "seconds": "1_0"}, "more than 0 s"),
    ],
)
def test_a_boost_out_of_bounds_is_refused(
    agent: Callable[..., Agent], request_: dict[str, Any], why: str
) -> None:
    """Nothing changes, not even the wishes."""
    one = agent(boost_cap=0.5)
    one.source(1)
    with pytest.raises(WishRefused, match=why):
        one.ask("boost", **request_)
    assert one.wishes.boosts == ()
    assert one.ask("refresh")["outcome"] == "unchanged"


@pytest.mark.parametrize(
    "request_",
    [
        {"command": "boost", "traces": 1.0, "seconds": 900},
        {"command": "end", "id": "b1"},
        {"command": "resume"},
        {"command": "rollback"},
    ],
)
def test_a_request_before_the_first_snapshot_is_refused_and_forgotten(
    agent: Callable[..., Agent], request_: dict[str, Any]
) -> None:
    """The source is not to blame; and nothing is kept for later."""
    one = agent(start_jitter_seconds=60)
    with pytest.raises(WishRefused, match="nothing is published"):
        one.daemon.ask(request_)
    assert one.wishes == Wishes()
    one.source(1)
    assert one.current.boosts == ()


def test_a_request_without_an_answer_is_no_fault_of_the_source(
    agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, with what may hang and what to do."""
    one = agent(pass_seconds=0.1)
    release = threading.Event()
    monkeypatch.setattr("agent.call.ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(one.shelf, "read", lambda _until: release.wait(10))
    with pytest.raises(AgentError, match=r"refresh got no answer within 0\.3 s") as no:
        one.ask("refresh")
    release.set()
    assert type(no.value) is AgentError
    assert "resentry-agent status" in no.value.hint


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"command": "drop"},
        {"command": ["boost"]},
        {"command": "boost"},
        {"command": "boost", "seconds": [1], "traces": 1.0},
    ],
)
def test_a_request_that_is_none_changes_nothing(
    agent: Callable[..., Agent], request_: dict[str, Any]
) -> None:
    """The socket answers it; nothing is published for it."""
    one = agent()
    one.source(1)
    with pytest.raises(RequestUnknown):
        one.daemon.ask(request_)
    assert one.ask("refresh")["outcome"] == "unchanged"


def test_a_request_that_was_given_up_is_not_carried_out(
    parts: Callable[..., Parts], shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator was told that nothing was changed."""
    monkeypatch.setattr("agent.call.ANSWER_SECONDS", 0.0)
    ready = parts(http_listen="off", probes_listen="off", pass_seconds=0.1)
    if ready.volume.is_open() is not True:
        ready.volume.open()
    daemon = Daemon(ready, "1")
    with pytest.raises(AgentError) as caught:
        daemon.ask({"command": "boost", "seconds": 60, "traces": 1.0})
    assert caught.value.hint == "nothing was changed: try again"

    shelf.values = {"SENTRY_DSN": dsn(1)}
    running = threading.Thread(target=daemon.run)
    running.start()
    eventually(lambda: daemon.view.known.current)
    daemon.stop()
    running.join()
    assert daemon.view.known.wishes == Wishes()
