"""gevent and eventlet: forks, programs and swaps in a process whose threads are greenlets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.models import Model, Requests, await_more
from lab.process import eventually, free_port, listens
from lab.sink import Sink
from lab.versions import FOLDER, REPOSITORY, UV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.process, pytest.mark.xdist_group("eventlet")]


PROGRAMS = Path(__file__).parent / "programs"
PROJECTS = (1, 2)
LOCKED = REPOSITORY / "requirements" / "eventlet.txt"
GREEN = ("gevent", "eventlet")


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        yield sink


@pytest.fixture
def model(sink: Sink) -> Iterator[Model]:
    with Model(sink) as model:
        yield model


@pytest.fixture(scope="session")
def eventlet() -> Path:
    """Return the folder of eventlet: where it is installed, sentry-sdk imports it."""
    folder = FOLDER / "eventlet"
    ready = folder / ".ready"
    if not ready.exists() or ready.stat().st_mtime < LOCKED.stat().st_mtime:
        install = (UV, "pip", "install", "-q", "--require-hashes", "--target", folder)
        done = subprocess.run(
            [*install, "--python", sys.executable, "-r", LOCKED],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"eventlet can't be installed: {done.stderr.strip()}")
        ready.touch()
    return folder


@pytest.fixture
def play(
    sink: Sink, model: Model, eventlet: Path
) -> Callable[[str, str], dict[str, Any]]:
    """Play a scenario of the program; return what it said at its end."""

    def play(green: str, scenario: str) -> dict[str, Any]:
        path = f"{PROGRAMS}:{REPOSITORY}"
        process = model.spawn(
            *(sys.executable, str(PROGRAMS / "greenlets.py"), scenario),
            *map(sink.dsn, PROJECTS),
            cwd=model.folder,  # no repository of git, so no release either
            environ={
                "GREEN": green,
                # Else it imports dnspython, and with that httpx, before it patches.
                "EVENTLET_NO_GREENDNS": "yes",
                "PYTHONPATH": f"{path}:{eventlet}" if green == "eventlet" else path,
            },
        )
        eventually(lambda: not process.alive, 90, "the end of the scenario")
        lines = process.log_text().splitlines()
        assert process.returncode == 0, "\n".join(lines[-40:])
        assert [line for line in lines if "Traceback" in line] == []
        said: dict[str, Any] = json.loads(
            next(line for line in reversed(lines) if line.startswith("{"))
        )
        return said

    return play


def messages(sink: Sink) -> list[str]:
    return sorted(event.message for event in sink.events())


@pytest.mark.parametrize("green", GREEN)
def test_no_greenlet_of_the_application_runs_in_a_child(
    play: Callable[..., dict[str, Any]], sink: Sink, green: str
) -> None:
    """Neither before its exec nor before its end: an order is not placed twice."""
    said = play(green, "programs")

    assert (said["codes"], set(said["answers"])) == (0, {0})
    assert said["here"] > 0
    assert said["elsewhere"] == 0
    assert messages(sink) == ["last"]


@pytest.mark.parametrize("green", GREEN)
def test_forks_and_swaps_under_load_lose_and_double_nothing(
    play: Callable[..., dict[str, Any]], sink: Sink, green: str
) -> None:
    """The parent's greenlets, which send, do not go on in a child."""
    for project in PROJECTS:
        sink.answer(project, "ok", seconds=0.01)
    said = play(green, "load")

    assert "stuck" not in said["answers"]
    assert "nothing" not in said["answers"]
    captured = [*said["ids"], *said["answers"]]
    eventually(lambda: set(captured) <= set(sink.event_ids()), what="every event")
    assert sink.duplicates() == 0
    assert len(captured) == len(sink.event_ids())
    assert said["swaps"] == 4


@pytest.mark.parametrize("green", GREEN)
def test_children_follow(
    play: Callable[..., dict[str, Any]], sink: Sink, green: str
) -> None:
    """Each is a target of its own, and takes up what comes next."""
    said = play(green, "follow")

    assert said["sequences"] == [0, 0, 0]
    assert said["errors"] == [None] * 4
    assert (said["own"], said["parents"]) == (True, True)
    assert messages(sink) == ["first"] * 3 + ["last"] * 3


@pytest.mark.parametrize("green", [*GREEN, "plain"])
def test_the_hooks_of_a_fork_are_silent(
    play: Callable[..., dict[str, Any]], green: str
) -> None:
    """None of them logs, switches, builds a client, sleeps or starts a process."""
    said = play(green, "silent")

    assert said == {"parent": [], "children": [[], [], []]}


@pytest.mark.parametrize("preload", [False, True], ids=["", "preload"])
def test_gunicorn_with_gevent_places_each_order_once(
    model: Model, *, preload: bool
) -> None:
    """Requests start programs while the configuration rotates; a master follows, too."""
    port = free_port()
    command = f"gunicorn shop:shop -k gevent -w 2 -b 127.0.0.1:{port}"
    books = model.folder / "books"
    model.spawn(
        *command.split(),
        *(["--preload"] if preload else []),
        cwd=PROGRAMS,
        ready=lambda: listens(port),
        environ={"BOOKS": str(books)},
    )
    process = model._processes[0]
    work = Requests(f"http://127.0.0.1:{port}")
    for _ in range(4):
        await_more(work, 30)
        model.rotate()
        model.converge(3 if preload else 2)
    await_more(work, 30)
    work.stop()
    account = model.account("gunicorn gevent", work)

    assert work.failed == []
    assert sorted(books.read_text().split()) == sorted(work.sent())
    assert (account.lost, account.duplicated, account.misplaced) == (0, 0, 0)
    assert account.sent == account.received
    assert "Traceback" not in process.log_text()


def test_gunicorn_that_patches_in_its_configuration(model: Model) -> None:
    """As gevent advises: the master is patched before it loads the application."""
    port = free_port()
    config = model.folder / "config.py"
    config.write_text("from gevent import monkey\nmonkey.patch_all()\n")
    command = f"gunicorn shop:shop -k gevent -w 2 --preload -b 127.0.0.1:{port}"
    process = model.spawn(
        *command.split(),
        *("-c", str(config)),
        cwd=PROGRAMS,
        ready=lambda: listens(port),
        environ={"BOOKS": str(model.folder / "books")},
    )
    work = Requests(f"http://127.0.0.1:{port}")
    for _ in range(3):
        await_more(work, 20)
        model.rotate()
        model.converge(3)
    work.stop()
    account = model.account("gunicorn gevent, patched", work)

    assert (work.failed, account.lost, account.duplicated) == ([], 0, 0)
    assert account.sent == account.received
    assert "Traceback" not in process.log_text()
