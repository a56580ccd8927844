"""The volume is the truth: what others do to it, each pass mends and says."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs
from vandals import DSN, VANDALS, a_pass, another_dsn, empty, shape

from agent.domain.passes import Passes
from agent.domain.rollout import assess
from agent.domain.value import replace
from agent.domain.view import View
from agent.errors import SourceDown
from agent.observe import changes
from agent.observe.metrics import Metrics
from agent.pipeline import Pipeline
from resentry.contract import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.parts import Parts
    from agent.publish.volume import Volume


@pytest.fixture
def agent(parts: Callable[..., Parts], shelf: Any) -> Pipeline:
    """A pipeline that has published once."""
    shelf.values = {"SENTRY_DSN": f"{DSN}1", "SENTRY_RELEASE": "1"}
    pipeline = Pipeline(parts())
    assert a_pass(pipeline).kind == "published"
    assert pipeline.known.repairs == 0
    return pipeline


@pytest.mark.parametrize("fails", [False, True], ids=["good pass", "failing pass"])
@pytest.mark.parametrize("vandal", VANDALS.values(), ids=VANDALS)
def test_a_pass_repairs_what_others_did_to_the_volume(
    agent: Pipeline, directory: Path, shelf: Any, vandal: Any, *, fails: bool
) -> None:
    """Also a pass whose source fails; afterwards each reader finds what was published."""
    directory = directory.with_name("volume")
    before = shape(directory)
    vandal(directory)
    shelf.error = SourceDown("no Vault") if fails else None

    outcome = a_pass(agent)

    assert shape(directory) == before
    assert outcome.kind == ("failed" if fails else outcome.kind)
    current = agent.known.current
    assert current is not None
    assert agent.known.last_good is not None
    assert current.settings["SENTRY_DSN"] == f"{DSN}1"
    left = agent.known
    a_pass(agent)
    assert agent.known.repairs == left.repairs
    assert agent.known.current == left.current


@pytest.mark.parametrize(
    ("vandal", "said"),
    [
        ("no ..data", "..data was removed or replaced"),
        ("truncated", "settings.json was changed"),
        ("no receipts", "receipts again"),
        ("no visible link", "settings.json again"),
        ("no agent", "agent again"),
        ("no rights", "settings.json mode 640 instead of 0"),
        ("no rights at all", "mode 750 instead of 700"),
        ("agent open to all", "agent mode 700 instead of 755"),
        ("receipts closed", "receipts mode 3770 instead of 700"),
    ],
)
def test_a_repair_is_logged_counted_and_a_note(
    agent: Pipeline, directory: Path, vandal: str, said: str
) -> None:
    """So an operator learns that somebody else writes to the volume."""
    before = View(agent.known, Passes(0.0), 0.0, assess([], None, late=False))
    VANDALS[vandal](directory.with_name("volume"))
    outcome = a_pass(agent)
    after = replace(before, known=agent.known)
    metrics = Metrics("1")
    with capture_logs() as logs:
        changes.log_changes(before, after)
    changes.count_changes(before, after, metrics)

    assert any(said in note for note in outcome.notes)
    (line,) = [line for line in logs if line["log_level"] == "warning"]
    assert said in line["event"]
    assert "only the agent" in line["hint"]
    assert b"resentry_volume_repairs_total 1.0" in metrics.render()


def test_a_link_in_the_place_of_the_agent_s_directory_is_not_followed(
    agent: Pipeline, directory: Path
) -> None:
    """What the link names keeps its mode. The error says what to remove."""
    private = directory.with_name("volume") / "agent"
    private.rename(directory.with_name("moved"))
    other = directory.with_name("other")
    other.mkdir(0o755)
    private.symlink_to(other)
    outcome = a_pass(agent)
    assert outcome.error == "PublishError"
    assert f"{private} is not a directory" in outcome.sentence
    assert stat.S_IMODE(other.stat().st_mode) == 0o755
    private.unlink()
    assert a_pass(agent).exit_code == 0


def test_what_was_spoilt_is_published_as_a_new_sequence(
    agent: Pipeline, directory: Path
) -> None:
    """A process that ran the spoilt snapshot is not confirmed until it runs this one."""
    first = agent.known.current
    another_dsn(directory.with_name("volume"))
    a_pass(agent)
    second = agent.known.current
    assert first is not None
    assert second is not None
    assert (second.revision, second.sequence) == (first.revision, first.sequence + 1)


def test_a_spoilt_snapshot_is_not_taken_over_by_the_next_agent(
    agent: Pipeline, parts: Callable[..., Parts], directory: Path, shelf: Any
) -> None:
    """Its revision does not name its content, so the last good one is published again."""
    another_dsn(directory.with_name("volume"))
    shelf.error = SourceDown("no Vault")
    a_pass(agent := Pipeline(parts()))
    current = agent.known.current
    assert current is not None
    assert current.settings["SENTRY_DSN"] == f"{DSN}1"


def test_the_numbers_of_a_volume_never_go_back(
    agent: Pipeline, volume: Volume, directory: Path
) -> None:
    """Also if somebody brings back an older set, or all memory is lost."""
    for number in range(3):
        volume.publish(replace(Snapshot({}), revision=str(number)))
    newest = volume.publish(agent.known.last_good or Snapshot({}))
    empty(directory.with_name("volume"))
    a_pass(agent)
    current = agent.known.current
    assert current is not None
    assert current.sequence > newest.sequence
