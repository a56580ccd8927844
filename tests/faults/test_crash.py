"""The agent is killed at every call that changes the file system: nobody sees half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.publish import volume
from agent.publish.volume import Volume
from resentry.contract import Snapshot, decode_snapshot, revision_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.process


PROGRAM = Path(__file__).parent / "programs" / "crash.py"
DSN = "https://c0ffee00c0ffee00c0ffee00c0ffee00@sentry.example.org/1"
OLD = 12
"""The sequence of the last good set: the history is full."""


def named(**settings: object) -> Snapshot:
    return Snapshot(settings, revision=revision_of(Snapshot(settings)))


def opened(directory: Path) -> Volume:
    found = Volume(str(directory), f"{directory}/receipts")
    found.open()
    return found


@pytest.fixture
def killed(tmp_path: Path) -> Callable[[Path], tuple[list[str], list[Path]]]:
    """Kill the writer on copies of a volume; return its calls and the copies."""

    def kill(template: Path) -> tuple[list[str], list[Path]]:
        work = tmp_path / "work"
        work.mkdir()
        ran = subprocess.run(
            [sys.executable, PROGRAM, template, work],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        calls: list[str] = json.loads(ran.stdout)
        return calls, sorted(work.glob("*-*"))

    return kill


def whole_set(directory: Path) -> Snapshot | None:
    """Read all files through one opened `..data`; fail if they are not one set."""
    try:
        at = os.open(directory / "..data", os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        found = {name: _read(name, at) for name in os.listdir(at)}
    finally:
        os.close(at)
    snapshot = decode_snapshot(found.pop("settings.json"))
    assert snapshot.revision == revision_of(snapshot)
    lines = found.pop("sentry.env").decode().splitlines()
    each = {name: body.decode() for name, body in found.items()}
    assert dict(line.split("=", 1) for line in lines) == each
    assert {key: str(value) for key, value in snapshot.settings.items()} == each
    return snapshot


def _read(name: str, at: int) -> bytes:
    file = os.open(name, os.O_RDONLY, dir_fd=at)
    with open(file, "rb") as opened_file:
        return opened_file.read()


def check(directory: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """A reader, then the next agent; return the sequence that the reader found."""
    found = whole_set(directory)
    if found is not None and (directory / "settings.json").exists():
        assert found == decode_snapshot((directory / "settings.json").read_bytes())

    successor = opened(directory)
    assert found == successor.current() == whole_set(directory)
    if found is not None:
        assert found == successor.memory.history()[0]
    with monkeypatch.context() as patched:
        patched.setattr(volume, "KEEP_SECONDS", -1)  # nothing is too young to go
        published = successor.publish(named(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE=0.25))
    successor.close()

    assert published == whole_set(directory) == successor.memory.history()[0]
    assert published.sequence == 1 + (found.sequence if found else 0)
    visible = {"settings.json", "sentry.env", *published.settings}
    hidden = {"..data", os.readlink(directory / "..data")}
    assert visible | hidden | {"agent", "receipts"} == set(os.listdir(directory))
    assert {"lock", "history"} == set(os.listdir(directory / "agent"))
    assert all((directory / name).exists() for name in visible)
    history = [path.name for path in (directory / "agent" / "history").iterdir()]
    assert all(name.endswith(".json") for name in history)
    assert len(history) <= 10
    return found.sequence if found else 0


EVERY = {"mkdir", "open", "write", "fchmod", "fchown", "chmod", "fsync"}


def test_a_killed_writer_leaves_the_old_set_or_the_new_one(
    tmp_path: Path,
    killed: Callable[[Path], tuple[list[str], list[Path]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before, amid and after each call: a reader sees one set, the next pass succeeds."""
    template = tmp_path / "template"
    last_good = opened(template)
    for number in range(OLD):
        last_good.publish(named(SENTRY_DSN=DSN, SENTRY_SAMPLE_RATE=number / 100))
    last_good.close()

    calls, copies = killed(template)
    seen = Counter(check(copy, monkeypatch) for copy in copies)

    replacing = {"symlink", "utime", "rename", "replace", "unlink", "rmdir"}
    assert EVERY | replacing == set(calls)
    assert len(copies) == 2 * len(calls) + calls.count("write")
    assert {OLD, OLD + 1} == set(seen)


def test_a_writer_killed_on_an_empty_volume_leaves_nothing_or_a_set(
    tmp_path: Path,
    killed: Callable[[Path], tuple[list[str], list[Path]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The very first pass, too, is taken up again by the next agent."""
    template = tmp_path / "template"
    template.mkdir()

    calls, copies = killed(template)
    seen = Counter(check(copy, monkeypatch) for copy in copies)

    assert set(calls) >= EVERY
    assert {0, 1} == set(seen)
