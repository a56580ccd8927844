"""What a process tells others of a trace, with Celery's own messages."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from resentry.contract import SETTINGS_FILE, Rule, Snapshot, encode_snapshot

if TYPE_CHECKING:
    from lab.sink import Sink

pytestmark = pytest.mark.process


PROGRAM = Path(__file__).parent / "programs" / "queued.py"
OFF = ["", "", "", ""]


@pytest.mark.parametrize("mode", ["static", "stream"])
@pytest.mark.parametrize(
    ("way", "rules", "expected"),
    [
        ("plain", (), OFF),
        ("ours", (), OFF),
        ("ours", (Rule("nothing", 1.0),), OFF),
        ("ours", (Rule("checkout", 1.0),), ["", "", "-1", ""]),
    ],
    ids=["plain", "no rules", "a rule for nothing", "a rule"],
)
def test_a_task_carries_its_caller_s_trace_where_tracing_is_off(
    sink: Sink,
    tmp_path: Path,
    mode: str,
    way: str,
    rules: tuple[Rule, ...],
    expected: list[str],
) -> None:
    """Each message has a trace header, without a decision unless a rule has decided."""
    snapshot = Snapshot({"SENTRY_DSN": sink.dsn(1)}, rules=rules, sequence=1)
    (tmp_path / SETTINGS_FILE).write_bytes(encode_snapshot(snapshot))
    ran = subprocess.run(
        [sys.executable, PROGRAM, way, mode],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PATH": os.environ["PATH"],
            "RESENTRY_DIR": str(tmp_path),
            "SENTRY_DSN": sink.dsn(1),
        },
    )
    assert json.loads(ran.stdout) == expected
