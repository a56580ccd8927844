"""The directories of the volume: only what is the agent's own is changed."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from agent.errors import PublishError
from agent.publish.volume import Volume
from resentry.contract import Snapshot

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


KUBELET = "..2026_01_01_00_00_00.1234567890"
"""As kubelet's atomic writer names the directories of a Secret."""
OURS = "..2026_01_01_00_00_00.0a1b2c3d"


def foreign(tmp_path: Path, *, target: str = KUBELET) -> Path:
    """A directory that another program publishes in."""
    place = tmp_path / "volume"
    (place / target).mkdir(parents=True)
    (place / target / "SENTRY_DSN").write_text("theirs")
    (place / "..data").symlink_to(target)
    (place / "SENTRY_DSN").symlink_to("..data/SENTRY_DSN")
    return place


@pytest.mark.parametrize("target", [KUBELET, "/etc", "..gone", "release-7", "..data2"])
def test_what_another_program_publishes_is_left_alone(
    tmp_path: Path, target: str
) -> None:
    """`RESENTRY_DIR` names a mounted Secret by a slip: nothing there changes."""
    place = foreign(tmp_path) if target == KUBELET else tmp_path / "volume"
    if target != KUBELET:
        place.mkdir()
        (place / "..data").symlink_to(target)
    volume = Volume(str(place), str(tmp_path / "receipts"))
    names = sorted(os.listdir(place))
    assert not volume.is_used()
    with pytest.raises(PublishError, match="another program publishes in") as raised:
        volume.open()
    assert "set RESENTRY_DIR" in raised.value.hint
    with pytest.raises(PublishError, match="another program publishes in"):
        volume.must_be_clear(Snapshot({}))
    assert sorted(os.listdir(place)) == names
    assert not (tmp_path / "receipts").exists()


def test_only_hidden_names_of_the_agent_s_own_form_are_swept(tmp_path: Path) -> None:
    """Somebody else's stay, however old: a mount, an editor's file, their receipts."""
    place = tmp_path / "volume"
    place.mkdir()
    theirs = {KUBELET, "..receipts", "..2026.0a1b2c3d", f"{OURS}0", "..data_tmp"}
    for name in (*theirs, OURS, "..check.ab_12xyz"):
        (place / name).mkdir()
        os.utime(place / name, (0, 0))
    (place / "..their_link").symlink_to("x")
    (place / "..data_tmp.0a1b2c3d").symlink_to("x")
    volume = Volume(str(place), str(place / "..receipts2"))
    with pytest.raises(PublishError, match="RESENTRY_RECEIPTS"):
        volume.open()
    opened(tmp_path, tmp_path / "receipts")
    left = {name for name in os.listdir(place) if name.startswith("..")}
    assert left == {*theirs, "..their_link"}


@pytest.mark.parametrize("name", ["", "agent", "agent/history", "..receipts", OURS])
def test_receipts_are_apart_from_what_the_agent_writes(
    tmp_path: Path, name: str
) -> None:
    """Applications may write there: they could replace what is published."""
    with pytest.raises(PublishError, match="in the way of what the agent writes"):
        opened(tmp_path, tmp_path / "volume" / name)
    assert not (tmp_path / "volume").exists()
    opened(tmp_path, tmp_path / "volume" / "mine" / "receipts")
