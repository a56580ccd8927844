"""The table "Users and groups" of docs/kubernetes.md, with two users on one volume."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root is two users"),
]

AGENT, APP, FS_GROUP, OTHER = 65532, 10001, 20000, 3000

# Either is a process that becomes its user once all is imported: the interpreter may
# stand where other users see nothing.
_AGENT = """
from dataclasses import replace
from agent.publish.volume import Volume
from resentry.contract import Snapshot, revision_of
become()
volume = Volume(f"{folder}/settings", f"{folder}/receipts/all", group)
volume.open()
wanted = Snapshot({"SENTRY_ENVIRONMENT": "development"})
volume.publish(replace(wanted, revision=revision_of(wanted)))
"""
_APP = """
import glob, resentry.follower, resentry.reader, resentry.receipt_file, resentry.target
become()
volume = resentry.reader.SharedDir(f"{folder}/settings", "", True)
assert volume.read().revision
os.listdir(f"{folder}/receipts/all")
target = resentry.target.Target()
target.start("api", {}, {
    "RESENTRY_DIR": volume.directory, "RESENTRY_RECEIPTS": f"{folder}/receipts/all"
})
while not glob.glob(f"{folder}/receipts/all/*.json"): time.sleep(0.01)
os._exit(0)  # the library's thread may be in the middle of something
"""
_CONFIRM = """
import glob
become()
(receipt,) = glob.glob(f"{folder}/receipts/all/*.json")
open(receipt).read()
"""
_BECOME = """
import os, sys, time
folder, group, *numbers = sys.argv[1:]
user, *groups = map(int, numbers)
def become():
    os.umask(0o022)
    os.setgroups(groups)
    os.setgid(groups[0])
    os.setuid(user)
"""


def works(program: str, folder: Path, user: int, groups: list[int], group: str) -> bool:
    numbers = [str(number) for number in (user, *groups)]
    done = subprocess.run(
        [sys.executable, "-c", _BECOME + program, folder, group, *numbers],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if "PermissionError" in done.stderr:
        return False
    assert done.returncode == 0, done.stderr
    return True


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's: those are root's alone, and made so again at any time."""
    with tempfile.TemporaryDirectory(prefix="groups-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.parametrize(
    ("fs_group", "supplementary", "group", "app"),
    [
        pytest.param(True, [], "", APP, id="the pod has an fsGroup"),
        pytest.param(False, [AGENT], "", APP, id="the pod is in the agent's group"),
        pytest.param(False, [OTHER], str(OTHER), APP, id="both have RESENTRY_GROUP"),
        pytest.param(False, [], "", AGENT, id="the application has the agent's user"),
    ],
)
def test_the_application_reads_and_gives_receipts(
    folder: Path, *, fs_group: bool, supplementary: list[int], group: str, app: int
) -> None:
    """In each row of the table both users can do what they must."""
    volumes(folder, fs_group=fs_group)
    shared = [FS_GROUP] * fs_group + supplementary

    assert works(_AGENT, folder, AGENT, [AGENT, *shared], group)
    assert works(_APP, folder, app, [app, *shared], group)
    assert works(_CONFIRM, folder, AGENT, [AGENT, *shared], group)


def test_without_a_common_group_the_application_sees_nothing(folder: Path) -> None:
    """What the table adds is needed."""
    volumes(folder, fs_group=False)

    assert works(_AGENT, folder, AGENT, [AGENT], "")
    assert not works(_APP, folder, APP, [APP], "")


def volumes(folder: Path, *, fs_group: bool) -> None:
    """Make the directories as kubelet makes an emptyDir in memory."""
    for name in ("settings", "receipts"):
        (folder / name).mkdir()
        os.chown(folder / name, 0, FS_GROUP if fs_group else 0)
        (folder / name).chmod(0o3777 if fs_group else 0o1777)
