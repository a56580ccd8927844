"""What the agent keeps for itself across restarts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.domain.value import replace
from agent.publish.memory import HISTORY_LENGTH, Memory
from resentry.contract import Boost, Snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(str(tmp_path))


def numbered(sequence: int) -> Snapshot:
    settings = {"SENTRY_RELEASE": f"{sequence}"}
    return Snapshot(settings, revision=f"{sequence:012}", sequence=sequence)


def test_a_file_is_read_as_it_was_written(memory: Memory, tmp_path: Path) -> None:
    """Only its owner may read it, whatever the umask; nothing else is left."""
    before = os.umask(0)
    try:
        memory.write("state.json", b"1")
        memory.write("state.json", b"2", flush=False)
    finally:
        os.umask(before)
    assert memory.read("state.json") == b"2"
    assert memory.read("other.json") is None
    assert os.listdir(tmp_path) == ["state.json"]
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_keeps_the_old_file(memory: Memory, tmp_path: Path) -> None:
    """No temporary file stays."""
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError, match="Is a directory"):
        memory.write("state.json", b"1")
    assert os.listdir(tmp_path) == ["state.json"]


def test_what_a_crash_left_is_swept(memory: Memory, tmp_path: Path) -> None:
    """Temporary files go, here and in the history; everything else stays."""
    memory.sweep()
    memory.write("state.json", b"1")
    memory.remember(numbered(1))
    (tmp_path / "state.json.0a1b2c3d.tmp").touch()
    (tmp_path / "history" / "x.json.0a1b2c3d.tmp").touch()
    memory.sweep()
    assert {"state.json", "history"} == set(os.listdir(tmp_path))
    assert memory.history() == [numbered(1)]
    assert len(os.listdir(tmp_path / "history")) == 1


def test_the_history_holds_the_newest_ten(memory: Memory) -> None:
    """Newest first, also beyond the number of digits in a name."""
    numbers = [*range(1, 13), 99_999_999]
    for number in numbers:
        memory.remember(numbered(number))
    found = [snapshot.sequence for snapshot in memory.history()]
    assert found == numbers[: -HISTORY_LENGTH - 1 : -1]
    assert memory.last_sequence() == 99_999_999


def test_boosts_leave_a_snapshot_with_its_time(memory: Memory) -> None:
    """When a value changed is what the history is for; no number is given twice."""
    values = replace(numbered(1), published_at="2026-11-29T09:00:00Z")
    memory.remember(values)
    boost = Boost("b1", 1.0, "2126-11-24T06:15:00Z")
    later = {"published_at": "2026-11-29T09:10:00Z"}
    memory.remember(replace(values, boosts=(boost,), sequence=2, **later))
    memory.remember(replace(values, boosts=(), sequence=3, **later))
    assert [s.published_at for s in memory.history()] == [values.published_at]
    assert [s.sequence for s in memory.history()] == [1]
    assert memory.last_sequence() == 3


def test_a_damaged_snapshot_is_left_out_and_its_number_kept(
    memory: Memory, tmp_path: Path
) -> None:
    """What cannot be read cannot be gone back to, but no number is given twice."""
    memory.remember(numbered(1))
    (tmp_path / "history" / "00000002-abc.json").write_text("{")
    (tmp_path / "history" / "odd.json").write_text("{")
    assert memory.history() == [numbered(1)]
    assert memory.last_sequence() == 2


def test_without_a_directory_there_is_nothing(tmp_path: Path) -> None:
    """A volume on which no agent ever ran."""
    memory = Memory(str(tmp_path / "agent"))
    assert memory.history() == []
    assert memory.last_sequence() == 0
    assert memory.read("wishes.json") is None
    assert memory.read_snapshot("base.json") is None
