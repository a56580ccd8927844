"""What commands say of a volume that cannot be written or read."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.cli import boost, group, history, status, wait
from agent.cli.gather import why_unknown
from agent.errors import PublishError
from agent.publish.volume import Volume
from agent.settings import Settings

pytestmark = pytest.mark.process

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be another user")
IMPORTED = (boost, history, status, wait)
"""The commands. They are imported while this process can read its own source."""


@pytest.fixture
def raised(volume: Volume) -> Callable[..., BaseException | None]:
    """Run a command in this process, and return the error that it raises."""

    def run(*args: str) -> BaseException | None:
        ran = CliRunner().invoke(
            group, args, env={"RESENTRY_DIR": volume.directory}, standalone_mode=False
        )
        return ran.exception

    return run


@pytest.fixture
def as_nobody(raised: Any) -> Iterator[Any]:
    """The same as a user without rights on the volume."""
    os.seteuid(NOBODY)
    yield raised
    os.seteuid(0)


@as_root
@pytest.mark.parametrize(
    "args",
    [["status"], ["history"], ["wait", "--timeout", "0"], ["boost", "--list"]],
    ids=" ".join,
)
def test_a_volume_without_access_is_not_an_empty_one(
    as_nobody: Any, args: list[str]
) -> None:
    """The error names the path, the reason and the user."""
    error = as_nobody(*args)
    assert isinstance(error, PublishError)
    assert error.what.startswith("cannot read /")
    assert error.what.endswith("Permission denied")
    assert f"user {NOBODY}" in error.hint


@as_root
def test_status_says_why_it_cannot_know_whether_an_agent_runs(
    settings: Callable[..., Settings], as_nobody: Any
) -> None:
    """No agent ever ran here, or this user cannot read the lock."""
    assert why_unknown(settings(dir="/nowhere")) == "no agent ever ran here"
    lock = f"{settings().dir}/agent/lock"
    expected = f"user {NOBODY} cannot read {lock}: Permission denied"
    assert why_unknown(settings()) == expected
    assert isinstance(as_nobody("status"), PublishError)


def volume_step(command: Any, directory: str) -> dict[str, str]:
    """What `check` says of a volume."""
    source = {"RESENTRY_SOURCE_PATH": "/nowhere", "RESENTRY_DIR": directory}
    steps = json.loads(command("check", "--json", **source).stdout)["result"]["steps"]
    (row,) = [step for step in steps if step["step"] == "volume"]
    return dict(row)


def test_check_tells_a_volume_that_will_be_created(
    command: Any, tmp_path: Path
) -> None:
    """A directory that is not there is not "can be written"."""
    new = str(tmp_path / "a" / "b")
    assert volume_step(command, new)["detail"] == f"{new} will be created"
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert volume_step(command, new)["detail"] == f"{new} can be written"
    assert os.listdir(new) == []


@pytest.mark.parametrize("below", ["", "/volume"])
def test_check_refuses_a_file_in_the_place_of_the_volume(
    command: Any, tmp_path: Path, below: str
) -> None:
    """The setting and the file are named."""
    (tmp_path / "file").touch()
    row = volume_step(command, f"{tmp_path}/file{below}")
    assert row["result"] == "problem"
    assert row["detail"].startswith("RESENTRY_DIR: ")
    assert f"{tmp_path}/file is not a directory" in row["detail"]
    assert row["hint"] == "set RESENTRY_DIR to a directory"


def test_check_tries_to_write_where_rights_do_not_tell(command: Any) -> None:
    """Root has all rights on /proc, and can create nothing there."""
    row = volume_step(command, "/proc/resentry")
    assert row["result"] == "problem"
    assert row["detail"].startswith("RESENTRY_DIR: cannot create /proc/resentry: ")
    assert f"user {os.geteuid()}" in row["hint"]
    assert "RESENTRY_DIR" in row["hint"]


def test_a_source_that_is_not_there_is_not_told_to_be_set(
    command: Any, tmp_path: Path
) -> None:
    """The setting is there. What it names has vanished, or never was."""
    ran = command("once", RESENTRY_SOURCE_PATH=str(tmp_path / "nowhere"))
    assert ran.returncode == 66
    assert "check what mounts or writes the files" in ran.stderr
    assert "set RESENTRY_SOURCE_PATH" not in ran.stderr


def test_a_volume_that_cannot_be_written_names_the_user(command: Any) -> None:
    """Whose rights to look at."""
    ran = command("once", RESENTRY_SOURCE_PATH="/nowhere", RESENTRY_DIR="/proc/x")
    assert ran.returncode == 74
    assert f"this runs as user {os.geteuid()}" in ran.stderr
