"""The newest snapshot on the volume, as a process finds it."""

import os
from pathlib import Path

import pytest

from resentry.contract import (
    DEFAULT_DIR,
    SETTINGS_LIMIT_BYTES,
    ContractError,
    Snapshot,
    encode_snapshot,
)
from resentry.reader import SharedDir


@pytest.fixture
def volume(tmp_path: Path) -> SharedDir:
    return SharedDir.from_environ({"RESENTRY_DIR": str(tmp_path)})


def test_a_named_directory_is_expected_to_hold_a_snapshot(tmp_path: Path) -> None:
    """Whoever names a directory means it, also before it exists."""
    named = str(tmp_path / "later")
    assert SharedDir(
        named, f"{named}/receipts", expected=True
    ) == SharedDir.from_environ({"RESENTRY_DIR": named})


@pytest.mark.skipif(os.path.isdir(DEFAULT_DIR), reason="this machine runs resentry")
@pytest.mark.parametrize("environ", [{}, {"RESENTRY_DIR": ""}])
def test_without_a_name_the_default_directory_must_exist(
    environ: dict[str, str],
) -> None:
    """On a machine that has never seen an agent nothing is waited for."""
    expected = SharedDir(DEFAULT_DIR, f"{DEFAULT_DIR}/receipts", expected=False)
    assert expected == SharedDir.from_environ(environ)


def test_receipts_can_be_given_elsewhere() -> None:
    """`RESENTRY_RECEIPTS` names a directory of its own."""
    found = SharedDir.from_environ({"RESENTRY_DIR": "/a", "RESENTRY_RECEIPTS": "/b"})
    assert found.receipts == "/b"


def test_a_missing_file_has_no_mark_and_cannot_be_read(volume: SharedDir) -> None:
    """No snapshot yet is not an empty snapshot."""
    assert volume.mark() is None
    with pytest.raises(FileNotFoundError):
        volume.read()


def test_the_snapshot_is_read(volume: SharedDir, tmp_path: Path) -> None:
    """What was encoded into the file comes out."""
    snapshot = Snapshot({"SENTRY_SAMPLE_RATE": 0.5}, revision="0" * 12, sequence=3)
    (tmp_path / "settings.json").write_bytes(encode_snapshot(snapshot))
    assert snapshot == volume.read()


def test_the_mark_changes_when_the_link_points_elsewhere(
    volume: SharedDir, tmp_path: Path
) -> None:
    """The mark is the file's own, through links: same size and time are not enough."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text("{}")
        os.utime(tmp_path / name / "settings.json", ns=(1, 1))
    (tmp_path / "settings.json").symlink_to("..data/settings.json")
    marks = []
    for name in ("old", "new", "new"):
        (tmp_path / "tmp").symlink_to(name)
        (tmp_path / "tmp").rename(tmp_path / "..data")
        marks.append(volume.mark())
    assert marks[0] != marks[1]
    assert marks[1] == marks[2]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{}", b" " * (SETTINGS_LIMIT_BYTES + 1)], ids=len
)
def test_what_is_no_snapshot_is_refused(
    volume: SharedDir, tmp_path: Path, body: bytes
) -> None:
    """Half a file, another file, and one that would fill the memory are refused."""
    (tmp_path / "settings.json").write_bytes(body)
    with pytest.raises(ContractError):
        volume.read()
