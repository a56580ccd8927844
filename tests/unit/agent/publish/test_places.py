"""The directories of the volume: only what is the agent's own is changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from agent.errors import PublishError
from agent.publish.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")
TARGET = "0123456789abcdef"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def opened(tmp_path: Path, receipts: Path) -> None:
    volume = Volume(str(tmp_path / "volume"), str(receipts))
    volume.open()
    volume.close()


@pytest.mark.parametrize("names", [[], [f"{TARGET}.json", f"{TARGET}.lock"]])
def test_a_directory_for_receipts_alone_gets_its_mode(
    tmp_path: Path, names: list[str]
) -> None:
    """It is the agent's user's, and holds nothing else: a mount, or an earlier agent's."""
    receipts = tmp_path / "receipts"
    receipts.mkdir(0o755)
    for name in names:
        (receipts / name).touch()
    opened(tmp_path, receipts)
    assert mode(receipts) == 0o3770


@pytest.mark.parametrize("name", ["notes", "settings.json", "0123.lock", "x.tmp"])
def test_a_directory_that_holds_something_else_stays_as_it_is(
    tmp_path: Path, name: str
) -> None:
    """`RESENTRY_RECEIPTS` may name it by a slip."""
    receipts = tmp_path / "etc"
    receipts.mkdir()
    receipts.chmod(0o755)
    (receipts / name).touch()
    opened(tmp_path, receipts)
    assert mode(receipts) == 0o755


def test_a_directory_that_all_may_write_to_stays_as_it_is(tmp_path: Path) -> None:
    """As `/tmp` does."""
    receipts = tmp_path / "tmp"
    receipts.mkdir()
    receipts.chmod(0o1777)
    opened(tmp_path, receipts)
    assert mode(receipts) == 0o1777


@as_root
def test_a_directory_of_somebody_else_stays_as_it_is(tmp_path: Path) -> None:
    """Root could change it, and does not."""
    receipts = tmp_path / "other"
    receipts.mkdir()
    receipts.chmod(0o755)
    os.chown(receipts, 4242, 4242)
    opened(tmp_path, receipts)
    assert (mode(receipts), receipts.stat().st_uid) == (0o755, 4242)


def test_a_file_is_no_directory_for_receipts(tmp_path: Path) -> None:
    """It stays as it is, and the error names the setting."""
    receipts = tmp_path / "file"
    receipts.touch(0o644)
    with pytest.raises(PublishError, match=r"RESENTRY_RECEIPTS: .* is not a directory"):
        opened(tmp_path, receipts)
    assert mode(receipts) == 0o644


@pytest.mark.parametrize(("mask", "expected"), [(0, 0o755), (0o077, 0o700)])
def test_parents_are_open_to_nobody_else(
    tmp_path: Path, mask: int, expected: int
) -> None:
    """The umask may close them further, and never opens them."""
    os.umask(mask)
    volume = Volume(f"{tmp_path}/a/b/volume", f"{tmp_path}/c/d/receipts")
    volume.open()
    volume.close()
    parents = [tmp_path / name for name in ("a", "a/b", "c", "c/d")]
    assert {mode(path) for path in parents} == {expected}
    assert mode(tmp_path / "a/b/volume") == 0o750
    assert mode(tmp_path / "c/d/receipts") == 0o3770
