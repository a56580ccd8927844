"""Publishing that fails: nothing changes, and the next try works.

Some cases are those of kubelet's own atomic-writer tests. Its paths may have
subdirectories; the names here are settings, so they have none.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from published import DSN, FIRST, FIXED, SECOND, age, of, values

from agent.domain.value import replace
from agent.errors import PublishError
from agent.publish.volume import KEEP_SECONDS, Volume

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).parent / "programs"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def hidden(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name.startswith("..")}


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


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..sneaky.txt",
        "/dev/null",
        "hello/../etc/bad",
        "../x",
        "a" * 256,
        "settings.json",
    ],
)
def test_a_name_that_could_be_a_path_is_not_written(
    volume: Volume, directory: Path, name: str
) -> None:
    """Nothing outside the new directory is touched, and the last good set stays."""
    good = volume.publish(of(foo="foo"))
    before = hidden(directory)
    with pytest.raises(PublishError):
        volume.publish(of(**{"foo": "foo2", name: "bar"}))
    assert good == volume.current()
    assert before == hidden(directory)


@pytest.mark.parametrize("kind", ["file", "directory", "link", "dangling"])
@pytest.mark.parametrize("name", ["settings.json", "sentry.env", "SENTRY_DSN"])
def test_what_is_planted_under_a_visible_name_is_an_error(
    volume: Volume, directory: Path, kind: str, name: str
) -> None:
    """Readers would see it instead of the set; neither it nor the last good changes."""
    good = volume.publish(of(foo="foo"))
    path = directory / name
    path.unlink(missing_ok=True)
    other = directory.parent / "other"
    other.write_text("precious")
    if kind == "file":
        path.write_text("planted")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(other if kind == "link" else "nowhere")
    before = hidden(directory)
    with pytest.raises(
        PublishError, match=rf"cannot publish .*{name}: a file that is not"
    ):
        volume.publish(of(SENTRY_DSN="new"))
    assert good == volume.current()
    assert before == hidden(directory)
    assert other.read_text() == "precious"

    path.rmdir() if kind == "directory" else path.unlink()
    assert volume.publish(of(SENTRY_DSN="new")) == volume.current()


def test_a_directory_in_the_place_of_data_is_an_error(
    volume: Volume, directory: Path
) -> None:
    """It may be somebody's: the error names it, and nothing of the new set stays."""
    (directory / "..data").mkdir()
    (directory / "..data" / "precious").touch()
    with pytest.raises(PublishError, match=r"cannot publish .*data: a file"):
        volume.publish(of(foo="foo"))
    assert hidden(directory) == {"..data"}
    assert (directory / "..data" / "precious").exists()


def test_mode_and_group_are_there_before_anybody_can_look(
    volume: Volume, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the switch each file is readable for the group already."""
    seen: dict[str, int] = {}
    real = os.rename

    def rename(link: str, data: str) -> None:
        new = directory / os.readlink(link)
        for path in (new, *new.iterdir()):
            seen[path.name] = stat.S_IMODE(path.stat().st_mode)
        real(link, data)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        volume.publish(of(foo="foo"))
    name = os.readlink(directory / "..data")
    assert seen == {name: 0o750, "foo": 0o640} | dict.fromkeys(FIXED, 0o640)


@pytest.mark.parametrize("call", ["fchmod", "chmod", "fsync", "mkdir", "symlink"])
def test_a_call_that_fails_before_the_switch_leaves_nothing(
    volume: Volume, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """No file without its mode, no set that is not on disk, ever becomes visible."""
    good = volume.publish(of(foo="foo"))
    before = hidden(directory)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(PublishError, match="Operation not permitted"):
            volume.publish(of(foo="foo2"))
    assert good == volume.current()
    assert before == hidden(directory)
    assert volume.publish(of(foo="foo2")) == volume.current()


@pytest.mark.parametrize("call", ["symlink", "unlink"])
def test_what_fails_after_the_switch_is_finished_by_the_next_pass(
    volume: Volume, directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The new set is current, and `repair` makes names and history whole."""
    volume.publish(of(foo="foo"))
    real = getattr(os, call)

    def fail(*args: Any, **kwargs: Any) -> None:
        if args[-1].endswith(("/foo", "/bar")):
            raise OSError(28, "No space left on device")
        real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(PublishError, match="No space left"):
            volume.publish(of(bar="bar"))
    current = volume.current()
    assert current is not None
    assert current.settings == {"bar": "bar"}
    volume.repair(current)
    assert values(directory) == {"bar": "bar"}
    assert current == volume.memory.history()[0]


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


def test_a_file_in_the_place_of_the_volume_is_an_error(tmp_path: Path) -> None:
    """It is said, and stays."""
    (tmp_path / "volume").write_text("precious")
    with pytest.raises(PublishError, match=r"cannot write .*volume"):
        Volume(str(tmp_path / "volume"), f"{tmp_path}/receipts").open()
    assert (tmp_path / "volume").read_text() == "precious"


@pytest.mark.process
@as_root
def test_a_volume_of_another_owner_is_an_error(volume: Volume, directory: Path) -> None:
    """An agent that runs as the wrong user says so, and changes nothing."""
    good = volume.publish(of(foo="foo"))
    for folder in (directory, *directory.parents):  # it must fail here, not on the way
        if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    ran = subprocess.run(
        [sys.executable, PROGRAMS / "as_nobody.py", directory],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ran.stdout.splitlines()
    assert len(lines) == 2, ran.stderr
    assert all(line.startswith("74 cannot write") for line in lines)
    assert all("ermi" in line for line in lines), lines
    assert good == volume.current()


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


@pytest.mark.process
@as_root
@pytest.mark.parametrize("options", ["nr_inodes=32", "size=64k"])
def test_a_volume_without_inodes_or_space_keeps_the_last_good(
    tmp_path: Path, python: Callable[..., Any], options: str
) -> None:
    """Publishing fails as a whole on a real one, and works again when some are free."""
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    ran = python(PROGRAMS / "full.py", mounted, options)
    if ran.stdout == "no mount\n":
        pytest.skip("this root may not mount")
    assert ran.stdout.split() == ["True"] * 4, ran.stderr
