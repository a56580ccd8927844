"""Our own Kubernetes node ends without a trace, however it ends."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from lab.cluster import Cluster, missing
from lab.process import Process, eventually

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(1800),  # the programs are built first, where they are not kept
    pytest.mark.skipif(bool(missing()), reason=missing() or "a node can run"),
]

UP = """
import time
from lab.cluster import Cluster
with Cluster() as cluster:
    print(cluster.folder, flush=True)
    time.sleep(3600)
"""


def network() -> str:
    """Which network this thread is in."""
    return os.readlink("/proc/thread-self/ns/net")


def test_a_node_is_ready_and_leaves_nothing() -> None:
    """It runs in a network of its own, and this thread is back where it was after it."""
    before = network()
    with Cluster() as cluster:
        assert network() != before
        assert cluster.kubectl("get", "nodes", "-o", "name") == "node/node1\n"
    assert network() == before
    assert not cluster.folder.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*{cluster.cgroup}"))


def test_a_node_is_swept_after_a_crash() -> None:
    """Its processes die with the one that started it; the next node removes the rest."""
    with Process([sys.executable, "-c", UP], cwd=Path.cwd(), within=1500) as process:
        eventually(lambda: process.log_text().strip(), 1500, "a node")
        folder = Path(process.log_text().strip().splitlines()[-1])
        process.signal(signal.SIGKILL)
        eventually(lambda: not process.alive)
        assert folder.exists()
        with Cluster():
            assert not folder.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{folder.name}"))
