"""Odd applications beside the agent's own volume: who cannot follow, who can."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.confirm.receipts import Receipts
from agent.domain.value import replace
from agent.publish.volume import Volume
from lab.paths import SUPPORT
from lab.process import Process, eventually
from lab.sink import Sink
from resentry.contract import Snapshot, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.domain.rollout import LiveTarget

pytestmark = pytest.mark.process


GROUP = 54323
"""The group of the volume. No system has a name for it."""
TOLD_SECONDS = 12.0

PREAMBLE = """
import importlib, os, time
from mishaps import *
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
"""
STAY = "\ntime.sleep(3600)\n"


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def volume() -> Iterator[Volume]:
    """Open a volume as the agent does, where other users can reach it."""
    parent = tempfile.mkdtemp(prefix="resentry-")
    Path(parent).chmod(0o755)
    directory = Path(parent, "volume")
    if os.geteuid() == 0:
        directory.mkdir()
        os.chown(directory, -1, GROUP)
    group = str(GROUP) if os.geteuid() == 0 else ""
    opened = Volume(str(directory), f"{directory}/receipts", group)
    opened.open()
    yield opened
    opened.close()
    shutil.rmtree(parent)


def publish(volume: Volume, dsn: str) -> Snapshot:
    wanted = Snapshot({"SENTRY_DSN": dsn, "SENTRY_ENVIRONMENT": "production"})
    return volume.publish(replace(wanted, revision=revision_of(wanted)))


def application(volume: Volume, sink: Sink, script: str) -> Process:
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SUPPORT),
        "RESENTRY_DIR": volume.directory,
        "B": sink.dsn(9),
    }
    return Process([sys.executable, "-c", PREAMBLE + script + STAY], env=environ)


def confirmed(volume: Volume, snapshot: Snapshot) -> list[LiveTarget]:
    """Return all targets once there are some, and each is drained of older ones."""
    receipts = Receipts(f"{volume.directory}/receipts")

    def all_drained() -> list[LiveTarget]:
        found = receipts.read()
        fine = all(
            each.runs(snapshot) and each.receipt.phase == "drained" for each in found
        )
        return found if fine else []

    return eventually(all_drained, what=f"all of {receipts.read()}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_application_in_no_common_group_says_so(volume: Volume, sink: Sink) -> None:
    """It names the volume, its group, and its own; the agent sees no target."""
    publish(volume, sink.dsn(1))
    script = "become_another_user()\nresentry.init(**QUICK)\n"
    with application(volume, sink, script) as process:
        eventually(lambda: "WARNING" in process.log_text(), TOLD_SECONDS, "a warning")
        lines = process.log_text().splitlines()
        line = next(line for line in lines if "WARNING" in line)
        for text in (volume.directory, "Permission denied", str(GROUP), "54322"):
            assert text in line
        assert Receipts(f"{volume.directory}/receipts").read() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_application_in_the_volume_s_group_confirms(
    volume: Volume, sink: Sink
) -> None:
    """Another user with one common group needs no more than that."""
    publish(volume, sink.dsn(1))
    script = f"become_another_user({GROUP})\nresentry.init(**QUICK)\n"
    with application(volume, sink, script) as process:
        assert len(confirmed(volume, publish(volume, sink.dsn(2)))) == 1
        assert "WARNING" not in process.log_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_group_that_is_mended_later_is_taken_up(volume: Volume, sink: Sink) -> None:
    """The application that was told to be out needs no restart."""
    newest = publish(volume, sink.dsn(1))
    script = "become_another_user()\nresentry.init(**QUICK)\n"
    with application(volume, sink, script) as process:
        eventually(lambda: "WARNING" in process.log_text(), TOLD_SECONDS, "a warning")
        for directory, _, files in os.walk(volume.directory):
            os.chmod(directory, 0o777)
            for name in files:
                if not Path(directory, name).is_symlink():
                    os.chmod(Path(directory, name), 0o644)
        assert len(confirmed(volume, newest)) == 1


@pytest.mark.parametrize("role", ["''", "None", "7", "'a b/c'", "'x' * 100_000"])
def test_the_agent_sees_an_application_of_any_role(
    volume: Volume, sink: Sink, role: str
) -> None:
    """An odd role is made one of the contract's, so that the receipt counts."""
    publish(volume, sink.dsn(1))
    with application(volume, sink, f"resentry.init(role={role}, **QUICK)\n"):
        assert len(confirmed(volume, publish(volume, sink.dsn(2)))) == 1


def test_the_agent_sees_one_target_after_a_reload(volume: Volume, sink: Sink) -> None:
    """No second one stays behind that never confirms."""
    publish(volume, sink.dsn(1))
    script = """
resentry.init(**QUICK)
eventually(receipts)
for _ in range(3):
    importlib.reload(resentry).init(**QUICK)
open("/dev/stderr", "w").write("reloaded")
"""
    with application(volume, sink, script) as process:
        eventually(lambda: "reloaded" in process.log_text(), what="the reload")
        assert len(confirmed(volume, publish(volume, sink.dsn(2)))) == 1


@pytest.mark.parametrize("error", ["'x' * 500_000", "'\\ud800'", "'\\x00\\x1b[31m'"])
def test_the_agent_reads_why_a_swap_failed(
    volume: Volume, sink: Sink, error: str
) -> None:
    """Whatever the exception's text is: refused, and never dropped in silence."""
    publish(volume, sink.dsn(1))
    script = f"""
resentry.init(**QUICK)
mishap = raising(Outlet, "__init__", RuntimeError({error}))
mishap.__enter__()
open("/dev/stderr", "w").write("broken")
"""
    with application(volume, sink, script) as process:
        eventually(lambda: "broken" in process.log_text(), what="the break")
        newest = publish(volume, sink.dsn(2))
        receipts = Receipts(f"{volume.directory}/receipts")
        refused = (newest.revision, newest.sequence)
        (target,) = eventually(
            lambda: [one for one in receipts.read() if one.receipt.refused == refused],
            what=f"the refusal in {receipts.read()}",
        )
        assert (target.receipt.error or "").startswith("RuntimeError")
