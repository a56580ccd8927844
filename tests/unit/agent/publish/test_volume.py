"""The shared volume: what readers see of it, and what a failure leaves."""

import errno
import grp
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import PublishError, SettingsError, VolumeBusy
from agent.publish.volume import KEEP_SECONDS, Volume
from lab.process import eventually
from resentry.contract import Snapshot, decode_snapshot, revision_of

DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/42"
CONTENT = {"SENTRY_DSN": DSN, "SENTRY_SEND_PII": False, "SENTRY_SAMPLE_RATE": 0.5}
FIRST = Snapshot(CONTENT, revision=revision_of(Snapshot(CONTENT)))
SECOND = Snapshot({"SENTRY_DSN": DSN}, revision="b" * 12)
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


def test_names_that_are_not_ours_stay(volume: Volume, directory: Path) -> None:
    """A file or link of somebody else's is none of the agent's business."""
    (directory / "notes").write_text("mine")
    (directory / "link").symlink_to("notes")
    volume.publish(FIRST)
    assert (directory / "notes").read_text() == "mine"
    assert os.readlink(directory / "link") == "notes"


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


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


def test_what_a_crash_left_is_swept(volume: Volume, directory: Path) -> None:
    """Half-made directories and links go when the next agent opens the volume."""
    volume.publish(FIRST)
    volume.close()
    current = os.readlink(directory / "..data")
    (directory / "..2026_01_01_00_00_00.deadbeef").mkdir()
    (directory / "..2026_01_01_00_00_00.deadbeef" / "SENTRY_DSN").write_text(DSN)
    age(directory / "..2026_01_01_00_00_00.deadbeef", KEEP_SECONDS + 1)
    age(directory / current, KEEP_SECONDS + 1)
    (directory / "..data_tmp.deadbeef").symlink_to(current)
    volume.open()
    found = {path.name for path in directory.iterdir() if path.name.startswith("..")}
    assert {"..data", current} == found


def test_links_that_a_crash_prevented_are_made(volume: Volume, directory: Path) -> None:
    """A crash between switch and links is mended by the next agent."""
    volume.publish(FIRST)
    volume.close()
    (directory / "SENTRY_DSN").unlink()
    (directory / "SENTRY_RELEASE").symlink_to("..data/SENTRY_RELEASE")
    volume.open()
    assert (directory / "SENTRY_DSN").read_text() == DSN
    assert not os.path.lexists(directory / "SENTRY_RELEASE")


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


def tree(directory: Path) -> dict[str, Any]:
    """Everything on the volume: names, links, contents."""
    return {
        str(path.relative_to(directory)): (
            os.readlink(path)
            if path.is_symlink()
            else path.is_file() and path.read_bytes()
        )
        for path in sorted(directory.rglob("*"))
    }


@pytest.mark.parametrize("after", range(6))
def test_a_full_disk_keeps_the_last_good_intact(
    volume: Volume,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """Whichever write fails, not a byte changes, and the next try works.

    `os.write` is replaced because no real disk fills up between two given writes.
    """
    good = volume.publish(FIRST)
    before, left = tree(directory), [after]
    real = os.write

    def write(file: int, body: Any) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        return real(file, body[:100] if left[0] == 0 else body)

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        if after < 4:
            with pytest.raises(PublishError, match="No space left") as caught:
                volume.publish(replace(FIRST, revision="c" * 12))
            assert (caught.value.exit_code, caught.value.retry_soon) == (74, True)
            assert before == tree(directory)
            assert good == volume.current()
    assert volume.publish(SECOND).sequence == 2


@pytest.mark.parametrize("call", ["mkdir", "open", "symlink"])
def test_an_error_has_the_same_text_at_each_try(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """No temporary name is in it, so a full volume is one line of the log, not one a pass.

    The call is replaced because no real disk fills up at a given call.
    """
    volume.publish(FIRST)
    real = getattr(os, call)

    def fail(path: Any, *args: Any, **kwargs: Any) -> Any:
        path = args[0] if call == "symlink" else path
        if call == "open" and not (args and args[0] & os.O_CREAT):
            return real(path, *args, **kwargs)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(os, call, fail)
    tries: list[tuple[Any, ...]] = [(volume.publish, SECOND)]
    if call == "open":
        tries.append((volume.keep, "state.json", b"{}"))
    for action, *given in tries:
        texts = set()
        for _ in range(3):
            with pytest.raises(PublishError) as caught:
                action(*given)
            texts.add(caught.value.what)
        (text,) = texts
        assert "No space left" in text
        assert ".tmp" not in text


def test_a_short_write_is_gone_on_with(
    volume: Volume, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that takes only some bytes does not cut a file off.

    `os.write` is replaced because no real disk can be made to write short on demand.
    """
    real = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, body: real(file, body[:7]))
        published = volume.publish(FIRST)
    assert published == volume.current()
    assert (directory / "SENTRY_DSN").read_text() == DSN


def test_a_volume_that_is_gone_is_a_publish_error(
    volume: Volume, directory: Path
) -> None:
    """A directory that was unmounted beneath the agent is tried again later."""
    directory.rename(directory.with_name("away"))
    with pytest.raises(PublishError, match="No such file or directory"):
        volume.publish(FIRST)
    assert not directory.exists()
    with pytest.raises(PublishError):
        volume.keep("state.json", b"{}")
    assert volume.memory.read("state.json") is None
    directory.with_name("away").rename(directory)
    assert volume.publish(FIRST).sequence == 1


@pytest.mark.process
@as_root
def test_a_read_only_volume_keeps_what_it_holds(tmp_path: Path, python: Any) -> None:
    """A mount that turned read-only is a publish error; the last good stays."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    ran = python(PROGRAMS / "read_only.py", mounted)
    if ran.stdout == "no mount\n":
        pytest.skip("this root may not mount")
    assert ran.stdout.split() == ["True"] * 3, ran.stderr


def test_the_agent_s_own_state_is_replaced_as_a_whole(
    volume: Volume, directory: Path
) -> None:
    """What was written last is read, and no temporary file stays."""
    assert volume.memory.read("state.json") is None
    for number in range(3):
        volume.keep("state.json", json.dumps(number).encode())
    assert volume.memory.read("state.json") == b"2"
    assert {"lock", "state.json"} == set(os.listdir(directory / "agent"))


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
