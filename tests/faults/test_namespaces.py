"""Targets in another PID namespace: seen, confirmed, and never signalled."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from agent.confirm.receipts import Receipts
from agent.domain.value import replace
from agent.notify.signal import Signals
from agent.publish.volume import Volume
from lab.process import Process, eventually
from resentry.contract import Snapshot, revision_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.process


PROGRAM = "import resentry, time\nresentry.init(role='api')\ntime.sleep(3600)\n"
UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


def can_unshare() -> bool:
    try:
        done = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def publish(volume: Volume, environment: str) -> Snapshot:
    wanted = Snapshot({"SENTRY_DSN": "", "SENTRY_ENVIRONMENT": environment})
    return volume.publish(replace(wanted, revision=revision_of(wanted)))


def environ(volume: Volume) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "RESENTRY_DIR": volume.directory}


@pytest.mark.skipif(not can_unshare(), reason="no right to make a PID namespace here")
def test_a_target_in_another_pid_namespace_confirms(tmp_path: Path) -> None:
    """Its lock says that it lives; its pid means nothing here, so it gets no signal."""
    volume = Volume(str(tmp_path), str(tmp_path / "receipts"))
    volume.open()
    receipts = Receipts(str(tmp_path / "receipts"))
    publish(volume, "one")
    command = [*UNSHARE, sys.executable, "-c", PROGRAM]
    with Process(command, env=environ(volume)) as process:
        eventually(receipts.read, what="the receipt")
        current = publish(volume, "two")
        target = eventually(
            lambda: next((t for t in receipts.read() if t.runs(current)), None),
            what="the confirmation",
        )

        assert Signals().notify([target]) == {target.receipt.id: "out of reach"}
        process.kill()
        eventually(lambda: not receipts.read(), what="the end of the target")
    volume.close()
