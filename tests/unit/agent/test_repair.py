"""The volume is the truth: what others do to it, each pass mends and says."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.domain.passes import Passes
from agent.domain.rollout import assess
from agent.domain.view import View
from agent.errors import SourceDown
from agent.observe import changes
from agent.observe.metrics import Metrics
from agent.pipeline import Pipeline
from resentry.contract import Snapshot, decode_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent.domain.outcome import Outcome
    from agent.parts import Parts
    from agent.publish.volume import Volume

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/"


def generation(volume: Path) -> Path:
    return volume / os.readlink(volume / "..data")


def empty(volume: Path) -> None:
    for path in volume.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def replaced(volume: Path) -> None:
    volume.rename(volume.with_name("other"))
    volume.mkdir()


def another_dsn(volume: Path) -> None:
    file = generation(volume) / "settings.json"
    document = json.loads(file.read_bytes())
    document["settings"]["SENTRY_DSN"] = f"{DSN}666"
    file.write_text(json.dumps(document))


def elsewhere(volume: Path) -> None:
    shutil.copytree(generation(volume), volume.with_name("elsewhere"))
    (volume / "..data").unlink()
    (volume / "..data").symlink_to(volume.with_name("elsewhere"))


VANDALS: dict[str, Callable[[Path], Any]] = {
    "no ..data": lambda volume: (volume / "..data").unlink(),
    "..data into nothing": lambda volume: [
        (volume / "..data").unlink(),
        (volume / "..data").symlink_to("..gone"),
    ],
    "..data to elsewhere": elsewhere,
    "no generation": lambda volume: shutil.rmtree(generation(volume)),
    "no settings.json": lambda volume: (generation(volume) / "settings.json").unlink(),
    "no visible link": lambda volume: (volume / "settings.json").unlink(),
    "truncated": lambda volume: os.truncate(generation(volume) / "settings.json", 20),
    "emptied": lambda volume: os.truncate(generation(volume) / "SENTRY_DSN", 0),
    "a link inside": lambda volume: [
        (generation(volume) / "sentry.env").rename(volume.with_name("moved")),
        (generation(volume) / "sentry.env").symlink_to(volume.with_name("moved")),
    ],
    "another DSN": another_dsn,
    "no rights": lambda volume: (generation(volume) / "settings.json").chmod(0),
    "no rights at all": lambda volume: generation(volume).chmod(0o700),
    "no agent": lambda volume: shutil.rmtree(volume / "agent"),
    "agent open to all": lambda volume: (volume / "agent").chmod(0o755),
    "no lock": lambda volume: (volume / "agent" / "lock").unlink(),
    "no receipts": lambda volume: shutil.rmtree(volume / "receipts"),
    "receipts closed": lambda volume: (volume / "receipts").chmod(0o700),
    "no memory": lambda volume: [
        (volume / "agent" / "last-good.json").unlink(),
        shutil.rmtree(volume / "agent" / "history"),
    ],
    "all removed": empty,
    "volume removed": shutil.rmtree,
    "volume replaced": replaced,
}


def shape(volume: Path) -> dict[str, Any]:
    """Names, modes and contents, without what differs from publication to publication."""
    seen: dict[str, Any] = {}
    for path in sorted(volume.rglob("*")):
        name = str(path.relative_to(volume))
        if name.startswith("..2") or "history/" in name:
            continue
        status = path.lstat()
        if path.is_symlink():
            link = os.readlink(path)
            seen[name] = "..2" if link.startswith("..2") else link
        elif path.is_dir():
            seen[name] = stat.S_IMODE(status.st_mode)
        else:
            seen[name] = (stat.S_IMODE(status.st_mode), path.read_bytes())
    for path in sorted((volume / "..data").iterdir()):
        body = path.read_bytes()
        if path.name == "settings.json":
            whole = decode_snapshot(body)
            body = repr(replace(whole, sequence=0, published_at="")).encode()
        seen[path.name + " behind"] = (stat.S_IMODE(path.stat().st_mode), body)
    seen["..data behind"] = stat.S_IMODE((volume / "..data").stat().st_mode)
    seen["remembered"] = (volume / "agent" / "history").is_dir()
    return seen


@pytest.fixture
def agent(parts: Callable[..., Parts], shelf: Any) -> Pipeline:
    """A pipeline that has published once."""
    shelf.values = {"SENTRY_DSN": f"{DSN}1", "SENTRY_RELEASE": "1"}
    pipeline = Pipeline(parts())
    assert a_pass(pipeline).kind == "published"
    assert pipeline.known.repairs == 0
    return pipeline


def a_pass(pipeline: Pipeline) -> Outcome:
    reading = pipeline.read(time.monotonic() + 5)
    return pipeline.publish(reading, pipeline.known.wishes)


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
