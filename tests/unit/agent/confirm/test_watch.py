"""A change among the receipts is noticed at once, and a flood of changes costs little."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from living import held

from agent.confirm import watch as watch_module
from agent.confirm.watch import watch_receipts
from lab.process import eventually


class Counter:
    """Counts the calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


def replace(directory: Path, name: str = "receipt") -> None:
    """Write a file as the library does."""
    (directory / "temporary").touch()
    (directory / "temporary").rename(directory / name)


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    made = tmp_path / "receipts"
    made.mkdir()
    return made


def noticed(counter: Counter, change: Callable[[], object]) -> None:
    """Wait until the change is noticed."""
    before = counter.calls
    change()
    eventually(lambda: counter.calls > before, what="the call")


def test_a_written_and_a_removed_file_are_noticed(receipts: Path) -> None:
    """Both change which targets there are."""
    counter = Counter()
    assert watch_receipts(str(receipts), counter)
    noticed(counter, lambda: replace(receipts))
    noticed(counter, (receipts / "receipt").unlink)


@pytest.mark.process
def test_a_death_is_noticed_and_a_file_that_is_being_written_is_not(
    receipts: Path,
) -> None:
    """Nothing else happens in the directory when a process is killed."""
    counter = Counter()
    with held(receipts / "0123456789abcdef.lock") as process:
        assert watch_receipts(str(receipts), counter)
        (receipts / "0123456789abcdef.json.1234.tmp").write_text("half")
        noticed(counter, process.kill)
    assert counter.calls == 1


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_directory_that_is_replaced_is_watched_again(
    receipts: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody emptied the volume, and the agent has repaired it."""
    monkeypatch.setattr(watch_module, "RETRY_SECONDS", 0.01)
    counter = Counter()
    assert watch_receipts(str(receipts), counter)
    if how == "removed":
        noticed(counter, receipts.rmdir)
    else:
        noticed(counter, lambda: receipts.rename(f"{receipts}.old"))
    noticed(counter, receipts.mkdir)

    def shows() -> bool:
        before = counter.calls
        replace(receipts)
        time.sleep(0.05)
        return counter.calls > before

    eventually(shows, what="a call for the new directory")


@pytest.mark.slow
def test_a_flood_of_changes_leaves_the_processor_to_others(receipts: Path) -> None:
    """A call that makes much work is followed by a long pause."""
    counter = Counter()

    def work() -> None:
        counter()
        end = time.process_time() + 0.05
        while time.process_time() < end:
            """Look at many receipts."""

    assert watch_receipts(str(receipts), work)
    began = time.monotonic()
    for _ in range(50):
        replace(receipts)
        time.sleep(0.02)  # the flood itself takes little
    assert counter.calls * 0.05 <= 0.3 * (time.monotonic() - began) + 0.05


def test_no_directory_is_no_watch(tmp_path: Path) -> None:
    """And no descriptor stays open."""
    before = os.listdir("/proc/self/fd")
    assert not watch_receipts(str(tmp_path / "none"), Counter())
    assert os.listdir("/proc/self/fd") == before
