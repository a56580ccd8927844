"""Every way to run a Python service: eight rotations under load, and nothing is lost."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab.models import Account, Model, Program, Requests, Work, await_more
from lab.process import eventually, free_port, listens
from lab.system import EXAMPLE
from lab.valkey import Valkey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.process import Process
    from lab.sink import Sink

PROGRAMS = Path(__file__).parent / "programs"
ROTATIONS = 8
BETWEEN = 36
"""So many events at least are captured between two rotations."""


@dataclass(frozen=True)
class Case:
    """One process model: its command, and how many targets it makes."""

    name: str
    command: str
    targets: int = 1
    main: int = 0
    """How many of the targets are a process that others were forked from."""
    least: int = 0
    """With so many targets it has converged, where children come and go."""


GUNICORN = "gunicorn web:api -k uvicorn_worker.UvicornWorker -w 3 -b 127.0.0.1:PORT"
CELERY = "celery -A app.worker worker --loglevel WARNING"

APIS = [
    Case("uvicorn", "uvicorn web:api --port PORT --no-access-log"),
    Case("uvicorn --workers 3", "uvicorn web:api --port PORT --workers 3", 3),
    Case("uvicorn --reload", "uvicorn web:api --port PORT --reload"),
    Case("gunicorn", GUNICORN, 3),
    Case("gunicorn --preload", f"{GUNICORN} --preload", 4, main=1),
]
WORKERS = [
    Case("celery prefork", f"{CELERY} -c 3", 4, main=1),
    Case(
        "celery prefork --max-tasks-per-child 50",
        f"{CELERY} -c 3 --max-tasks-per-child 50",
        4,
        main=1,
        least=2,
    ),
    Case("celery threads", f"{CELERY} -P threads -c 4"),
    Case("celery solo", f"{CELERY} -P solo"),
    Case("celery gevent", f"{CELERY} -P gevent -c 20"),
]
SCRIPTS = [
    Case("plain script", "python script.py IDS"),
    Case("asyncio program", "python loop.py IDS"),
]

Record = "Callable[[str, object], None]"


@pytest.fixture
def model(sink: Sink) -> Iterator[Model]:
    with Model(sink) as model:
        yield model


@pytest.fixture(scope="module")
def broker() -> Iterator[Valkey]:
    with Valkey() as broker:
        yield broker


def start_api(model: Model, case: Case) -> tuple[Process, Requests]:
    """Start it in a folder of its own, where a file can be touched."""
    port = free_port()
    folder = model.folder / "app"
    folder.mkdir()
    shutil.copy(PROGRAMS / "web.py", folder)
    process = model.spawn(
        *case.command.replace("PORT", str(port)).split(),
        cwd=folder,
        ready=lambda: listens(port),
    )
    return process, Requests(f"http://127.0.0.1:{port}")


def rotate_under(
    model: Model, case: Case, work: Work, rotations: int = ROTATIONS
) -> None:
    """Rotate, again and again, while `work` goes on; return when all have converged."""
    for _ in range(rotations):
        await_more(work, BETWEEN)
        model.rotate()
        model.converge(case.targets, case.least)
    assert sum(target.main for target in model.targets()) == case.main


def account_for(model: Model, case: Case, work: Work) -> Account:
    """Let it work on after the last rotation; then every event must be in its place."""
    elsewhere = len(model.sink.events()) - model.sink.count("event", model.project)
    await_more(work, BETWEEN)
    work.stop()
    account = model.account(case.name, work)
    assert (account.lost, account.duplicated, account.misplaced) == (0, 0, 0)
    assert account.sent == account.received
    assert elsewhere == account.received - model.sink.count("event", model.project)
    assert model.sink.client_reports() == {}
    return account


@pytest.mark.parametrize("case", APIS, ids=lambda case: case.name)
def test_an_api_loses_nothing(
    model: Model, case: Case, record_property: Record
) -> None:
    """Every answered request's event arrives once, in the project of its time."""
    _, work = start_api(model, case)
    rotate_under(model, case, work)
    account = account_for(model, case, work)
    record_property("process model", str(account))
    assert work.failed == []
    eventually(
        lambda: model.sink.count("transaction") == account.sent,
        what="a transaction for each request",
    )


@pytest.mark.parametrize("case", WORKERS, ids=lambda case: case.name)
def test_a_worker_loses_nothing(
    model: Model, broker: Valkey, case: Case, record_property: Record
) -> None:
    """Every task's event arrives once, in the project of its time."""
    environ = {"BROKER_URL": broker.url}
    model.spawn(*case.command.split(), cwd=EXAMPLE, environ=environ)
    ids = model.folder / "ids"
    sender = model.spawn("python", "sender.py", broker.url, str(ids), cwd=PROGRAMS)
    work = Program(ids, sender)
    rotate_under(model, case, work)
    record_property("process model", str(account_for(model, case, work)))


@pytest.mark.parametrize("case", SCRIPTS, ids=lambda case: case.name)
def test_a_program_loses_nothing(
    model: Model, case: Case, record_property: Record
) -> None:
    """Every event of a program without a server arrives, also those of its last turn."""
    ids = model.folder / "ids"
    process = model.spawn(*case.command.replace("IDS", str(ids)).split(), cwd=PROGRAMS)
    work = Program(ids, process)
    rotate_under(model, case, work)
    record_property("process model", str(account_for(model, case, work)))
    assert process.returncode == 0


def test_a_reloaded_api_runs_the_newest_snapshot(model: Model) -> None:
    """`uvicorn --reload` replaces the process: its successor knows the rotation."""
    case = APIS[2]
    _, work = start_api(model, case)
    rotate_under(model, case, work, 1)
    before = {target.receipt.pid for target in model.targets()}
    (model.folder / "app" / "web.py").touch()
    eventually(
        lambda: before.isdisjoint(target.receipt.pid for target in model.targets()),
        what="another process",
    )
    rotate_under(model, case, work, 1)
    account_for(model, case, work)


def test_a_worker_that_gunicorn_adds_after_a_rotation_runs_the_newest_snapshot(
    model: Model,
) -> None:
    """A preloaded application's late child never sends to an old project."""
    case = APIS[4]
    master, work = start_api(model, case)
    rotate_under(model, case, work, 2)
    master.signal(signal.SIGTTIN)
    model.converge(case.targets + 1)
    account_for(model, case, work)
