"""Lines for standard error: who writes them waits for nobody."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from agent.observe.stderr import NO_FILE, Lines
from lab.process import eventually


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full, and whose reader does not read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    os.set_blocking(reader, False)
    yield reader, writer
    os.close(reader)
    # The writer stays open: a thread may still wait there.


def read(reader: int) -> str:
    """Return what waits in the pipe."""
    parts = []
    with contextlib.suppress(BlockingIOError):
        while part := os.read(reader, 1 << 20):
            parts.append(part)
    return b"".join(parts).decode()


def test_lines_over_the_limit_are_lost_counted_and_told_of(
    pipe: tuple[int, int],
) -> None:
    """The notice stands where the lines are missing, as soon as the pipe is read."""
    reader, writer = pipe
    lines = Lines(writer, limit=90)
    lines.notice = lambda lost: f"{lost} are missing"
    for number in range(20):
        lines.put(f"line {number:03}")
    assert lines.lost == 10
    text = ""

    def shown() -> bool:
        nonlocal text
        text += read(reader).lstrip("x")
        return "missing" in text

    eventually(shown, what="the notice")
    expected = [f"line {number:03}" for number in range(10)]
    assert text.splitlines() == [*expected, "10 are missing"]
    assert lines.lost == 10


@pytest.mark.parametrize("file", [NO_FILE, "full"])
def test_lines_that_cannot_be_written_are_counted(file: int | str) -> None:
    """A closed standard error, or a full disk."""
    opened = os.open("/dev/full", os.O_WRONLY) if file == "full" else NO_FILE
    lines = Lines(opened)
    lines.put("a line")
    lines.put("half a pair: \ud800")
    eventually(lambda: lines.lost == 2, what="both lines")
    if opened != NO_FILE:
        os.close(opened)
