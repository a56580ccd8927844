"""The shared volume: what readers see of it, and who may write."""

import grp
import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from published import DSN, FIRST, FIXED, SECOND, age, of, values

from agent.domain.value import replace
from agent.errors import SettingsError, VolumeBusy
from agent.publish.volume import KEEP_SECONDS, Volume
from lab.process import eventually
from resentry.contract import decode_snapshot

PROGRAMS = Path(__file__).parent / "programs"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_volume_has_its_directories(volume: Volume, directory: Path) -> None:
    """The agent's own is private; everybody in the group may add to the receipts."""
    found = {path.name: mode(path) for path in directory.iterdir()}
    assert found == {"agent": 0o700, "receipts": 0o3770}
    assert mode(directory) == 0o750
    assert volume.current() is None


def test_a_published_snapshot_is_numbered_and_dated(volume: Volume) -> None:
    """What `publish` returns is what readers find."""
    published = volume.publish(FIRST)
    assert published.sequence == 1
    assert published.published_at.endswith("Z")
    assert replace(FIRST, sequence=1, published_at=published.published_at) == published
    assert published == volume.current()
    assert volume.publish(SECOND).sequence == 2


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_files_and_their_modes(volume: Volume, directory: Path, umask: int) -> None:
    """One directory, linked by `..data`, holds everything, whatever the umask."""
    before = os.umask(umask)
    try:
        volume.publish(FIRST)
    finally:
        os.umask(before)
    data = directory / "..data"
    assert os.readlink(data).startswith("..2")
    real = directory / os.readlink(data)
    expected = {"settings.json", "sentry.env", *FIRST.settings}
    assert expected == {path.name for path in real.iterdir()}
    assert mode(real) == 0o750
    for name in expected:
        assert mode(real / name) == 0o640
        assert os.readlink(directory / name) == f"..data/{name}"


def test_each_file_holds_what_its_name_says(volume: Volume, directory: Path) -> None:
    """JSON for us, dotenv for a shell, and one bare value per variable."""
    published = volume.publish(FIRST)
    assert published == decode_snapshot((directory / "settings.json").read_bytes())
    assert (directory / "sentry.env").read_text() == (
        f"SENTRY_DSN={DSN}\nSENTRY_SEND_PII=false\nSENTRY_SAMPLE_RATE=0.5\n"
    )
    assert (directory / "SENTRY_DSN").read_text() == DSN
    assert (directory / "SENTRY_SEND_PII").read_text() == "false"


@pytest.mark.process
def test_the_dotenv_file_can_be_sourced_as_it_is(
    volume: Volume, directory: Path
) -> None:
    """No value needs quoting in sh."""
    volume.publish(FIRST)
    script = f'. {directory}/sentry.env; printf %s "$SENTRY_DSN $SENTRY_SEND_PII"'
    said = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert f"{DSN} false" == said.decode()


def test_links_stay_while_the_directory_behind_them_changes(
    volume: Volume, directory: Path
) -> None:
    """A visible name is never replaced, so its inode tells nothing."""
    volume.publish(FIRST)
    links = {p.name: p.lstat().st_ino for p in directory.iterdir() if p.is_symlink()}
    before = os.readlink(directory / "..data")
    volume.publish(replace(FIRST, revision="c" * 12))
    after = {p.name: p.lstat().st_ino for p in directory.iterdir() if p.is_symlink()}
    links.pop("..data")
    after.pop("..data")
    assert links == after
    assert before != os.readlink(directory / "..data")


def test_visible_names_are_relative_links_through_data(
    volume: Volume, directory: Path
) -> None:
    """So they hold wherever the volume is mounted."""
    volume.publish(of(foo="foo"))
    moved = directory.rename(directory.parent / "elsewhere")
    assert os.readlink(moved / "foo") == "..data/foo"
    assert not os.readlink(moved / "..data").startswith("/")
    assert (moved / "foo").read_text() == "foo"


@pytest.mark.parametrize(
    "payloads",
    [
        [{"foo": "foo", "bar": "bar"}],
        [{"foo": "foo", "bar": "bar"}, {"foo": "foo2", "bar": "bar2"}],
        [{"foo": "foo"}, {"foo": "foo", "bar": "bar"}],
        [{"foo": "foo", "bar": "bar"}, {"foo": "foo"}],
        [{"foo": "foo", "bar": "bar"}, {"bar": "foo"}, {"foo": "bar"}],
        [{"foo": "foo"}, {}, {"foo": "foo"}],
        [{"foo": "0" * 9000}, {"foo": ""}, {"foo": "0"}],
    ],
    ids=["once", "update", "add", "delete", "swap", "delete all", "longer, shorter"],
)
def test_the_visible_files_are_those_of_the_last_payload(
    volume: Volume, directory: Path, payloads: list[dict[str, str]]
) -> None:
    """After every update each file holds the new content, and no removed one stays."""
    for payload in payloads:
        volume.publish(of(**payload))
        assert payload == values(directory)
        assert all(path.exists() for path in directory.iterdir())
        data = directory / os.readlink(directory / "..data")
        assert {*payload, *FIXED} == {path.name for path in data.iterdir()}


def test_names_that_are_not_ours_stay(volume: Volume, directory: Path) -> None:
    """A file or link of somebody else's is none of the agent's business."""
    (directory / "notes").write_text("mine")
    (directory / "link").symlink_to("notes")
    volume.publish(FIRST)
    assert (directory / "notes").read_text() == "mine"
    assert os.readlink(directory / "link") == "notes"


def test_a_replaced_directory_stays_for_its_time(
    volume: Volume, directory: Path
) -> None:
    """A reader in the middle of an old set ends it, however old that set was."""
    volume.publish(FIRST)
    old = directory / os.readlink(directory / "..data")
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    age(old, 10 * KEEP_SECONDS)
    volume.publish(SECOND)
    assert before == {path.name: path.read_bytes() for path in old.iterdir()}


def test_a_replaced_directory_goes_after_its_time(
    volume: Volume, directory: Path
) -> None:
    """What no reader can still be in is removed with the next publication."""
    volume.publish(FIRST)
    old = directory / os.readlink(directory / "..data")
    volume.publish(SECOND)
    age(old, KEEP_SECONDS + 1)
    volume.publish(FIRST)
    assert not old.exists()


@pytest.mark.parametrize("body", [b"", b"{", b'{"schema": 99}'], ids=repr)
def test_what_cannot_be_read_is_not_current(
    volume: Volume, directory: Path, body: bytes
) -> None:
    """A damaged file is no snapshot; the next publication mends it."""
    volume.publish(FIRST)
    (directory / "..data" / "settings.json").write_bytes(body)
    assert volume.current() is None
    assert volume.publish(SECOND) == volume.current()


@pytest.mark.parametrize("group", ["no-such-group", "4294967295", "9" * 20])
def test_a_group_that_does_not_exist_is_a_settings_error(
    directory: Path, group: str
) -> None:
    """Nothing is made under a wrong group."""
    with pytest.raises(SettingsError, match="this system has no such group"):
        Volume(str(directory), f"{directory}/receipts", group)
    assert not directory.exists()


@as_root
@pytest.mark.parametrize("group", ["4242", grp.getgrall()[-1].gr_name])
def test_files_belong_to_the_group(directory: Path, group: str) -> None:
    """By number or by name, everything readable is in the group; `agent` may be."""
    volume = Volume(str(directory), f"{directory}/receipts", group)
    volume.open()
    volume.publish(FIRST)
    volume.close()
    gid = int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    data = directory / "..data"
    for path in (directory, directory / "receipts", data.resolve(), *data.iterdir()):
        assert gid == path.stat().st_gid, path


@pytest.mark.process
def test_a_second_agent_stays_out(directory: Path) -> None:
    """While another process has the volume, it cannot be opened; then it can."""
    volume = Volume(str(directory), f"{directory}/receipts")
    assert volume.is_open() is None
    with subprocess.Popen(
        [sys.executable, PROGRAMS / "hold.py", directory],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        assert volume.is_open() is True
        with pytest.raises(VolumeBusy, match="another agent has the volume") as caught:
            volume.open()
        assert caught.value.exit_code == 75
        other.kill()
    eventually(lambda: volume.is_open() is False)
    volume.open()
    volume.close()


@pytest.mark.slow
def test_readers_see_one_set_or_the_other(volume: Volume, directory: Path) -> None:
    """Whoever opens `..data` once finds files of one snapshot, at any time."""
    volume.publish(replace(FIRST, settings={"SENTRY_RELEASE": "0"}))
    mixed: list[tuple[str, str]] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            at = os.open(directory / "..data", os.O_RDONLY | os.O_DIRECTORY)
            seen = []
            for name in ("SENTRY_RELEASE", "sentry.env"):
                file = os.open(name, os.O_RDONLY, dir_fd=at)
                seen.append(os.read(file, 100).decode())
                os.close(file)
            os.close(at)
            if seen[1] != f"SENTRY_RELEASE={seen[0]}\n":
                mixed.append((seen[0], seen[1]))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 60):
        volume.publish(replace(FIRST, settings={"SENTRY_RELEASE": str(number)}))
    ended.set()
    reader.join()
    assert mixed == []


def test_a_restart_goes_on_with_the_number(volume: Volume, directory: Path) -> None:
    """Also on a volume that is emptied after it: `wait --sequence` relies on it."""
    for _ in range(3):
        published = volume.publish(FIRST)
    volume.close()
    again = Volume(str(directory), f"{directory}/receipts")
    again.open()
    for entry in directory.iterdir():
        shutil.rmtree(
            entry
        ) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    again.open()
    assert again.repair(published).sequence == 4
    assert again.publish(FIRST).sequence == 5
    again.close()
