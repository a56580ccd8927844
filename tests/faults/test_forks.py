"""A process forks while it captures and swaps: children and parent both go on."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.models import Model
from lab.process import eventually
from lab.sink import Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.process


PROGRAMS = Path(__file__).parent / "programs"
PROJECTS = (1, 2, 3)


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def forks(sink: Sink) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run the program; return what it said once all of its events have arrived."""
    with Model(sink) as model:

        def run(*options: str) -> dict[str, Any]:
            dsns = [sink.dsn(project) for project in PROJECTS]
            process = model.spawn(
                *(sys.executable, "-W", "ignore", "forks.py", *dsns, *options),
                cwd=PROGRAMS,
            )
            eventually(lambda: not process.alive, 350, "the end of the forks")
            lines = process.log_text().splitlines()
            said: dict[str, Any] = json.loads(lines[-1]) if lines else {}
            assert process.returncode == 0, "\n".join(lines[-30:])
            return said

        yield run


def check(sink: Sink, said: dict[str, Any], forks: int) -> None:
    """No child hung or failed, all that was captured arrived once, in its place."""
    children = said["children"]
    assert (said["stuck"], said["failed"], len(children)) == (0, 0, forks)
    assert all(child["flushed"] for child in children)

    captured = [*said["ids"], *(child["id"] for child in children if child["id"])]
    with contextlib.suppress(TimeoutError):
        eventually(lambda: set(captured) <= set(sink.event_ids()), 60)
    arrived = set(sink.event_ids())
    assert [
        child for child in children if child["id"] and child["id"] not in arrived
    ] == []
    lost = [event for event in said["ids"] if event not in arrived]
    assert lost == [], said["now"]
    assert len(captured) == len(sink.event_ids())
    assert sink.duplicates() == 0
    assert [
        event
        for event in sink.events()
        if (event.environment, event.release)
        != (f"env-{event.project}", f"release-{event.project}")
    ] == []


def heirs(said: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the children that were born with a socket of their parent's."""
    return [child for child in said["children"] if child["inherited"]]


# It keeps both processors busy by itself.
@pytest.mark.alone
@pytest.mark.timeout(400)
def test_hundreds_of_forks(sink: Sink, forks: Callable[..., dict[str, Any]]) -> None:
    """No deadlock, nothing sent twice, no inherited socket."""
    said = forks("--forks", "400")

    check(sink, said, 400)
    assert heirs(said) == []
    assert said["swaps"] > 20


def test_multiprocessing_forks(
    sink: Sink, forks: Callable[..., dict[str, Any]]
) -> None:
    """`multiprocessing` with its fork start method is a fork like any other."""
    said = forks("--forks", "100", "--multiprocessing")

    check(sink, said, 100)
    assert heirs(said) == []


def test_a_fork_in_the_middle_of_a_swap(
    sink: Sink, forks: Callable[..., dict[str, Any]]
) -> None:
    """It waits 0.1 s at most; a child that is born with half a client loses nothing."""
    said = forks("--forks", "100", "--slow", "0.02")

    check(sink, said, 100)
