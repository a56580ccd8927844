"""The cases of kubelet's own atomic-writer tests, and what else can be in the way.

Kubelet's paths may have subdirectories; the names here are settings, so they have none.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from agent.errors import PublishError
from agent.publish.volume import Volume
from resentry.contract import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

FIXED = {"settings.json", "sentry.env"}
PROGRAMS = Path(__file__).parent / "programs"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def of(**settings: Any) -> Snapshot:
    return Snapshot(settings, revision="".join(settings)[:12])


def values(directory: Path) -> dict[str, str]:
    """What a reader finds under the visible names of single settings."""
    return {
        path.name: path.read_text()
        for path in directory.iterdir()
        if path.is_symlink() and path.name not in {*FIXED, "..data"}
    }


def hidden(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.name.startswith("..")}


# TestValidatePath, TestValidatePayload


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


# TestWriteOnce, TestUpdate, TestMultipleUpdates, TestPathsToRemove


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


# TestCreateUserVisibleFiles


def test_visible_names_are_relative_links_through_data(
    volume: Volume, directory: Path
) -> None:
    """So they hold wherever the volume is mounted."""
    volume.publish(of(foo="foo"))
    moved = directory.rename(directory.parent / "elsewhere")
    assert os.readlink(moved / "foo") == "..data/foo"
    assert not os.readlink(moved / "..data").startswith("/")
    assert (moved / "foo").read_text() == "foo"


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


# TestSetPerms


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


# TestNewAtomicWriter, and the conditions of a volume


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
