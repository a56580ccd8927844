"""What sends by a DSN counts, whoever made it: it follows a swap, or it is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.models import Model, Program, await_more
from lab.process import eventually
from lab.sink import Sink
from resentry.contract import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.process


PROGRAMS = Path(__file__).parent / "programs"
BETWEEN = 100
"""So many spans at least are made between two swaps: less than a quarter of a second."""

QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "30"}


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink(strict=True) as sink:
        yield sink


@pytest.fixture
def model(sink: Sink) -> Iterator[Model]:
    with Model(sink) as model:
        yield model


def spans(model: Model, *arguments: str) -> Program:
    """Start the program that makes spans."""
    ids = model.folder / "ids"
    command = ("python", "spans.py", str(ids), *arguments)
    work = Program(ids, model.spawn(*command, cwd=PROGRAMS, environ=QUICK))
    await_more(work, BETWEEN)
    return work


def settled(model: Model, seen: int) -> bool:
    """Whether spans have come to the newest project since the swap."""
    return len(model.sink.spans(model.project)) > seen


def swap(model: Model) -> None:
    """Rotate, and return once spans come to the new project."""
    seen = len(model.sink.spans((model.rotations + 1) % 3 + 1))
    model.rotate()
    eventually(lambda: settled(model, seen), what="spans in the new project")


def arrived(model: Model, work: Program) -> None:
    """Return once all spans that have been made by now are there."""
    made = set(work.sent())
    eventually(lambda: made <= set(model.sink.spans()), what="the spans")


def account(model: Model, work: Program) -> tuple[int, int]:
    """Return how many spans were lost, and how many came twice."""
    work.stop()
    sent, received = work.sent(), model.sink.spans()
    assert len(sent) == len(set(sent))
    return len(set(sent) - set(received)), len(received) - len(set(received))


def strays(model: Model) -> int:
    """Return how many spans have come to a project that is not the newest."""
    others = {1, 2, 3} - {model.project}
    return sum(len(model.sink.spans(project)) for project in others)


def test_spans_follow_every_swap(model: Model) -> None:
    """Several swaps a second, spans all the time: none is lost, none comes twice."""
    work = spans(model, "follow")
    for _ in range(20):
        await_more(work, BETWEEN)
        swap(model)
        before = len(work.sent())
        await_more(work, 10)
        later = set(work.sent()[before + 2 :])  # threads write after they made one
        eventually(lambda: later <= set(model.sink.spans(model.project)))  # noqa: B023
    assert account(model, work) == (0, 0)
    assert model.sink.answered(403) == 0


def test_spans_of_plain_sentry_stay(model: Model) -> None:
    """What the SDK's integration does alone: all goes to the first project, for ever."""
    work = spans(model, "plain")
    for _ in range(2):
        await_more(work, BETWEEN)
        model.rotate()
    assert account(model, work) == (0, 0)
    assert len(model.sink.spans(1)) == len(model.sink.spans())


def test_spans_of_forked_children_follow(model: Model) -> None:
    """Each child has a worker and connections of its own, and follows by itself."""
    work = spans(model, "follow", "2")
    for _ in range(8):
        await_more(work, BETWEEN)
        swap(model)
    assert account(model, work) == (0, 0)


def test_spans_that_a_revoked_dsn_refuses_arrive(model: Model) -> None:
    """The key is revoked before the swap: what it refused is sent by the next one."""
    work = spans(model, "follow")
    for _ in range(4):
        project = model.project
        model.sink.answer(project, 403)
        refused = model.sink.answered(403)
        eventually(lambda: model.sink.answered(403) > refused)  # noqa: B023
        swap(model)
        model.sink.answer(project, "ok")
    await_more(work, BETWEEN)
    arrived(model, work)
    assert account(model, work) == (0, 0)


def test_a_process_with_otlp_is_confirmed_once_its_spans_follow(model: Model) -> None:
    """Drained means that no span goes to an older project any more."""
    work = spans(model)
    model.converge(1)
    for _ in range(8):
        await_more(work, BETWEEN)
        model.rotate()
        model.converge(1)
        elsewhere = strays(model)
        await_more(work, BETWEEN)
        arrived(model, work)
        assert strays(model) == elsewhere
    assert account(model, work) == (0, 0)


@pytest.mark.parametrize("end", ["close", "forget"])
def test_a_client_of_the_applications_is_named(model: Model, end: str) -> None:
    """It keeps the process from being drained until it is closed, or collected."""
    pipe = model.folder / "pipe"
    os.mkfifo(pipe)
    first = fingerprint(model.sink.dsn(model.project))
    made = model.folder / "pipe.made"
    model.spawn("python", "second.py", str(pipe), cwd=PROGRAMS, ready=made.exists)
    model.converge(1)
    model.rotate()

    def named() -> bool:
        (target,) = model.targets()
        holders = [(one.kind, one.dsn) for one in target.receipt.holders]
        return target.runs(model.newest) and holders == [("client", first)]

    eventually(named, what="a receipt that names the client")
    (target,) = model.targets()
    assert target.receipt.phase == "running"
    pipe.write_text(f"{end}\n")
    model.converge(1)
    (target,) = model.targets()
    assert target.receipt.holders == ()
