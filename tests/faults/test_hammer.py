"""Readers in several processes, under continuous publishing: nobody sees a mixture."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.publish import volume
from agent.publish.volume import Volume
from resentry.contract import Snapshot, revision_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process


PROGRAM = Path(__file__).parent / "programs" / "read.py"
FOLLOWED = ("settings.json", "sentry.env", "directory")
READERS = 6
READS = 17_000
"""Of each reader at least: 102,000 in all."""
SETS = 100
"""So many different ones each reader sees at least, or it would prove little."""
KEEP_SECONDS = 5
"""So long an old set stays here, that the volume does not grow to thousands of them."""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A volume in memory, as in Kubernetes: there publishing is fastest."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = Path(tempfile.mkdtemp(prefix="resentry-hammer-", dir=memory))
    yield folder / "volume"
    shutil.rmtree(folder, ignore_errors=True)


def numbered(number: int) -> Snapshot:
    """A snapshot whose every value carries the number, of more than one length."""
    settings = {
        "SENTRY_DSN": f"https://c0ffee00c0ffee00c0ffee00c0ffee00@example.org/{number}",
        "SENTRY_ENVIRONMENT": f"{'long' * (number % 9)}-{number}",
        "SENTRY_RELEASE": f"lms-{number}",
    }
    return Snapshot(settings, revision=revision_of(Snapshot(settings)))


def test_no_reader_ever_sees_a_mixture(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 102,000 reads of one file, `sentry.env` or the directory each is one set."""
    monkeypatch.setattr(volume, "KEEP_SECONDS", KEEP_SECONDS)
    writer = Volume(str(directory), f"{directory}/receipts")
    writer.open()
    published = writer.publish(numbered(0)).sequence
    limits = (str(READS), str(SETS))
    readers = [
        subprocess.Popen(
            [sys.executable, PROGRAM, directory, FOLLOWED[at % 3], *limits],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for at in range(READERS)
    ]
    while any(reader.poll() is None for reader in readers):
        published = writer.publish(numbered(published)).sequence
    writer.close()

    ends = [reader.communicate() for reader in readers]
    assert [error for _, error in ends if error] == []
    said = [json.loads(output) for output, _ in ends]
    assert [mixture for each in said for mixture in each["mixed"]] == []
    assert sum(each["reads"] for each in said) > 100_000
