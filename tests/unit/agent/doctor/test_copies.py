"""A copied volume comes from somebody else: nothing in it is trusted."""

import os
import shutil
from pathlib import Path

import pytest

from agent.cli.doctor import facts_of_copy
from agent.cli.gather import gather
from agent.doctor.examine import examine
from agent.domain.value import replace
from agent.errors import PublishError
from agent.publish.volume import Volume
from agent.settings import load
from resentry.contract import Snapshot, decode_snapshot, encode_snapshot

OWN = load({}, {"RESENTRY_VAULT_ADDR": "http://127.0.0.1:9"})


@pytest.fixture
def copy(volume: Volume, tmp_path: Path) -> Path:
    volume.publish(Snapshot({"SENTRY_RELEASE": "1.0.0"}))
    volume.keep("state.json", b'{"sentence": "as it was"}')
    shutil.copytree(volume.directory, tmp_path / "copy", symlinks=True)
    return tmp_path / "copy"


def nothing_published(copy: Path) -> list[str]:
    findings = examine(facts_of_copy(OWN, str(copy)), ["volume"])
    return [f.subject for f in findings if (f.id, f.verdict) == ("RSN501", "problem")]


@pytest.mark.parametrize(
    "name", ["receipts", "agent", "agent/history", "settings.json", "..data"]
)
def test_a_link_that_leaves_the_copy_is_refused(
    copy: Path, tmp_path: Path, name: str
) -> None:
    """It names files of this machine, which would be read and listed."""
    place = copy / name
    if place.is_symlink():
        place.unlink()
    else:
        shutil.rmtree(place)
    place.symlink_to(tmp_path)
    with pytest.raises(PublishError, match="outside the copied volume"):
        facts_of_copy(OWN, str(copy))


def test_a_copy_as_it_was_made_is_read(copy: Path) -> None:
    """Whoever copies it may follow its links."""
    assert facts_of_copy(OWN, str(copy)).status.source.sentence == "as it was"
    assert nothing_published(copy) == []
    shutil.copytree(copy, copy.parent / "followed")
    assert facts_of_copy(OWN, str(copy.parent / "followed")).current is not None


@pytest.mark.parametrize("kind", ["link", "pipe", "large"])
def test_what_is_no_file_of_the_agent_is_not_read(copy: Path, kind: str) -> None:
    """The command neither waits for it, nor takes memory without end."""
    state = copy / "agent" / "state.json"
    elsewhere = state.rename(copy / "agent" / "elsewhere.json")
    if kind == "link":
        state.symlink_to(elsewhere)
    elif kind == "pipe":
        os.mkfifo(state)
    else:
        with state.open("wb") as file:
            file.write(elsewhere.read_bytes() + b" " * 4 * 1024 * 1024)
    assert facts_of_copy(OWN, str(copy)).status.source.sentence != "as it was"


def test_the_file_that_processes_read_is_examined(copy: Path) -> None:
    """What the agent published beside that file is no proof."""
    path = copy / "settings.json"
    body = path.read_bytes()
    path.unlink()
    assert nothing_published(copy) == [str(path)]
    os.mkfifo(path)
    assert nothing_published(copy) == [str(path)]
    path.unlink()
    old = replace(decode_snapshot(body), sequence=0)
    path.write_bytes(encode_snapshot(old))
    assert nothing_published(copy) == [str(path)]
    path.write_bytes(body)
    assert nothing_published(copy) == []


def test_a_pipe_in_the_place_of_the_snapshot_is_not_waited_for(copy: Path) -> None:
    """Nor is one in the place of the lock."""
    for name in ("..data/settings.json", "agent/lock"):
        (copy / name).unlink()
        os.mkfifo(copy / name)
    assert gather(facts_of_copy(OWN, str(copy)).settings).current is None


def test_no_setting_of_this_machine_counts(copy: Path) -> None:
    """Neither its source nor how many processes it wants has to do with the copy."""
    environ = {"RESENTRY_SOURCE_PATH": "/own/path", "RESENTRY_MIN_TARGETS": "api=3"}
    facts = facts_of_copy(load({}, environ), str(copy))
    assert "/own/path" not in facts.write("SENTRY_SAMPLE_RATE=1")
    assert not facts.rollout.missing


def test_the_room_of_this_machine_is_not_that_of_the_copy(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy on a disk that is full keeps no process from writing a receipt."""
    full = os.statvfs_result((4096, 4096, 100, 0, 0, 100, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    assert facts_of_copy(OWN, str(copy)).rollout.obstacle == ""
