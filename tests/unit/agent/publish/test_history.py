"""The history: what a rollback can go back to, and never more than fits."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.domain.value import replace
from agent.publish.memory import HISTORY_BYTES, HISTORY_LENGTH
from resentry.contract import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.publish.volume import Volume

PROGRAMS = Path(__file__).parent / "programs"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def large(size: int, revision: int) -> Snapshot:
    where = {"SENTRY_DSN": {"source": "vault", "note": "x" * size}}
    settings = {"SENTRY_RELEASE": f"{revision}"}
    return Snapshot(settings, provenance=where, revision=f"{revision}")


def sizes(directory: Path) -> list[int]:
    return [path.stat().st_size for path in (directory / "agent/history").iterdir()]


def test_the_history_is_bounded_in_number(volume: Volume, directory: Path) -> None:
    """Small snapshots: the newest ten."""
    for number in range(HISTORY_LENGTH + 3):
        volume.publish(large(10, number))
    assert len(sizes(directory)) == HISTORY_LENGTH
    assert volume.memory.history()[0].revision == "12"


def test_the_history_is_bounded_in_bytes(volume: Volume, directory: Path) -> None:
    """Large snapshots: as many as fit, the newest of them."""
    for number in range(6):
        volume.publish(large(HISTORY_BYTES // 4, number))
        assert sum(sizes(directory)) <= HISTORY_BYTES
    kept = [snapshot.revision for snapshot in volume.memory.history()]
    assert kept == ["5", "4", "3"]


def test_a_snapshot_too_large_for_the_history_is_published_all_the_same(
    volume: Volume,
) -> None:
    """It cannot be gone back to, and the agent says so."""
    volume.publish(large(10, 1))
    published = volume.publish(large(HISTORY_BYTES, 2))
    assert volume.current() == published
    assert "revision 2 cannot be rolled back to" in volume.problem
    assert [snapshot.revision for snapshot in volume.memory.history()] == ["1"]
    assert volume.publish(large(10, 3)).sequence == 3
    assert volume.problem == ""


def test_a_history_that_cannot_be_written_stops_no_publication(
    volume: Volume, directory: Path
) -> None:
    """Whatever stands in its place."""
    (directory / "agent/history").write_text("planted")
    published = volume.publish(large(10, 1))
    assert volume.current() == published
    assert "cannot be rolled back to later: cannot write" in volume.problem


def test_old_snapshots_go_before_the_new_one_is_written(
    volume: Volume, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a volume that has room for so many never needs room for one more.

    `write` is replaced because no real disk fills up at a given moment.
    """
    for number in range(HISTORY_LENGTH):
        volume.publish(large(10, number))
    seen: list[int] = []

    def write(name: str, *_: object, **__: object) -> None:
        if name.startswith("history"):
            seen.append(len(sizes(directory)))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(volume.memory, "write", write)
    volume.publish(large(10, 99))
    assert seen == [HISTORY_LENGTH - 1]


def test_histories_are_ordered_by_number(volume: Volume, directory: Path) -> None:
    """Also if the numbers differ in length."""
    folder = directory / "agent/history"
    folder.mkdir()
    for number in (99999999, 100000000):
        volume.memory.write(f"history/{number:08}-a.json", b"")
    assert volume.memory.last_sequence() == 100000000
    assert volume.publish(replace(large(1, 1))).sequence == 100000001


@pytest.mark.process
@as_root
def test_large_snapshots_never_fill_the_volume_for_good(
    tmp_path: Path, python: Callable[..., Any]
) -> None:
    """On a real 4 MiB: thirty publications of 900 KB, each after its minute."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    ran = python(PROGRAMS / "history.py", mounted, 900_000, 30)
    if ran.stdout == "no mount\n":
        pytest.skip("this root may not mount")
    kept, size = ran.stdout.splitlines()
    assert kept == "True True", ran.stderr
    assert int(size) <= HISTORY_BYTES
