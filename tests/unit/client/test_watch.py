"""What wakes a target's thread."""

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resentry.watch import Watch, _Clock, open_watch

LONG = 30.0
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


def best(directory: str) -> Watch:
    return open_watch(directory, None)


class Sleeper:
    """A thread in `wait`: it wakes within a second, or it does not."""

    def __init__(self, watching: Watch) -> None:
        self._thread = threading.Thread(target=watching.wait, args=[LONG], daemon=True)
        self._thread.start()

    def woke(self, within: float = 5.0) -> bool:
        self._thread.join(within)
        return not self._thread.is_alive()


def test_a_rename_into_the_directory_wakes(tmp_path: Path) -> None:
    """The agent's switch from old to new is a rename."""
    (tmp_path / "tmp").symlink_to("a")
    watching = open_watch(str(tmp_path), None)
    watching.wait(0.01)
    sleeper = Sleeper(watching)
    (tmp_path / "tmp").rename(tmp_path / "..data")
    assert sleeper.woke()
    watching.close()


def test_the_steps_before_a_switch_wake_nobody(tmp_path: Path) -> None:
    """Each process would look for nothing while the agent still writes."""
    watching = open_watch(str(tmp_path), None)
    watching.wait(0.01)
    (tmp_path / "..2026_11_29_20_53_20.01234567").mkdir()
    (tmp_path / "..data_tmp.01234567").symlink_to("..2026_11_29_20_53_20.01234567")
    began = time.monotonic()
    watching.wait(0.05)
    assert time.monotonic() - began >= 0.045
    (tmp_path / "..data_tmp.01234567").rename(tmp_path / "..data")
    began = time.monotonic()
    watching.wait(LONG)
    assert time.monotonic() - began < LONG
    watching.close()


def test_a_file_written_in_place_wakes(tmp_path: Path) -> None:
    """A volume that is kept by hand works, too."""
    watching = open_watch(str(tmp_path), None)
    watching.wait(0.01)
    sleeper = Sleeper(watching)
    (tmp_path / "settings.json").write_text("{}")
    assert sleeper.woke()
    watching.close()


@pytest.mark.parametrize("kind", [best, lambda _at: _Clock()])
def test_a_call_of_wake_wakes(tmp_path: Path, kind: Callable[[str], Watch]) -> None:
    """Another thread ends the wait, also before it has begun."""
    watching = kind(str(tmp_path / "nowhere"))
    sleeper = Sleeper(watching)
    watching.wake()
    assert sleeper.woke()
    watching.wake()
    assert Sleeper(watching).woke()
    watching.close()


@pytest.mark.parametrize("kind", [best, lambda _at: _Clock()])
def test_without_a_reason_the_time_goes_by(
    tmp_path: Path, kind: Callable[[str], Watch]
) -> None:
    """A wait that nothing ends takes as long as was asked, and each wake counts once."""
    watching = kind(str(tmp_path))
    watching.wait(0.01)
    watching.wake()
    watching.wait(0.01)
    began = time.monotonic()
    watching.wait(0.05)
    assert 0.045 <= time.monotonic() - began < 5
    watching.close()


def test_a_directory_that_appears_later_is_watched(tmp_path: Path) -> None:
    """Each wait tries again to watch a directory that is not there yet."""
    directory = tmp_path / "later"
    watching = open_watch(str(directory), None)
    watching.wait(0.01)
    directory.mkdir()
    watching.wait(0.01)  # nothing wakes: this look finds the new directory
    sleeper = Sleeper(watching)
    (directory / "settings.json").write_text("{}")
    assert sleeper.woke()
    watching.close()


def test_a_directory_that_is_made_anew_is_watched_again(tmp_path: Path) -> None:
    """The end of the directory wakes, and its successor is watched."""
    directory = tmp_path / "volume"
    directory.mkdir()
    watching = open_watch(str(directory), None)
    watching.wait(0.01)
    sleeper = Sleeper(watching)
    directory.rmdir()
    assert sleeper.woke()
    directory.mkdir()
    watching.wait(0.01)  # nothing wakes: this look finds the new directory
    sleeper = Sleeper(watching)
    (directory / "settings.json").write_text("{}")
    assert sleeper.woke()
    watching.close()


def test_a_closed_watch_gives_its_descriptors_back(tmp_path: Path) -> None:
    """Twenty watches, one after the other, cost none for good."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        watching = open_watch(str(tmp_path), None)
        watching.wait(0)
        watching.close()
    assert before == len(os.listdir("/proc/self/fd"))


@pytest.mark.process
@pytest.mark.parametrize("left", [0, 1])
def test_without_descriptors_time_serves(
    run: Callable[..., Any], tmp_path: Path, left: int
) -> None:
    """Where no inotify instance or eventfd can be had, time and `wake` do the work."""
    ran = run(
        """
        import resource, time
        from resentry.watch import open_watch

        free = os.dup(0)
        os.close(free)
        limit = free + int(os.environ["LEFT"])
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        watching = open_watch(os.environ["DIRECTORY"], None)
        watching.wake()
        began = time.monotonic()
        watching.wait(30)
        watching.wait(0.01)
        watching.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        after = os.dup(0)
        say(seconds=time.monotonic() - began, leaked=after - free)
        """,
        DIRECTORY=str(tmp_path),
        LEFT=str(left),
    )
    assert ran.said["seconds"] < 5
    assert ran.said["leaked"] == 0
