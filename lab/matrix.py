"""The process models that the library promises to follow: one row each.

`tests/matrix` runs every row; `docs/library.md` shows them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Row:
    """One process model: how it is started, and which processes give a receipt."""

    name: str
    command: str
    """PORT, FOLDER and BROKER stand for a free port, a folder of this run, a URL."""
    targets: int = 1
    main: int = 0
    """How many of the targets are a process that others were forked from."""
    least: int = 0
    """With so many targets it has converged, where processes come and go."""
    stays: int = 0
    """So many targets can't follow, as their receipts say."""
    receipts: str = "the process"
    """For people: which processes give one."""
    needs: str = ""
    """For people: what has to be set."""
    plain: str = ""
    """For people: what sentry-sdk alone loses or sends twice in this program."""
    queue: str = ""
    """Which queue brings the work; `beat` for a schedule of its own."""
    between: int = 36
    """So many events at least are captured between two rotations."""
    flushes: bool = True
    """Whether the processes end in a way that lets them send what they hold."""
    hangs: bool = False
    """Whether at SIGTERM it hangs at times, with sentry-sdk alone too."""
    code: int | None = None
    """How it ends on SIGTERM, where that says something."""
    environ: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    """Empty files in FOLDER."""


UWSGI = (
    "uwsgi --http-socket 127.0.0.1:PORT --wsgi-file flask_app.py --callable app "
    "--processes 2 --master --need-app --die-on-term --disable-logging "
    "--stats FOLDER/stats"
)
GUNICORN = "gunicorn flask_app:app -w 2 -b 127.0.0.1:PORT"
CELERY = "celery -A celery_tasks worker --loglevel WARNING"
MASTER = "master and workers"
FIRST = "master; workers at their first event"
HOOKS = "--enable-threads --py-call-uwsgi-fork-hooks"

POOL = "a flush before a child ends: no exit handler runs in it"

UWSGI_ROWS = [
    Row("uWSGI", UWSGI, 3, 1, receipts=FIRST),
    Row("uWSGI --enable-threads", f"{UWSGI} --enable-threads", 3, 1, receipts=FIRST),
    Row("uWSGI --threads 2", f"{UWSGI} --threads 2", 3, 1, receipts=FIRST),
    Row("uWSGI with fork hooks", f"{UWSGI} {HOOKS}", 3, 1, receipts=MASTER),
    Row(
        "uWSGI --lazy-apps",
        f"{UWSGI} --lazy-apps --enable-threads",
        2,
        receipts="workers",
    ),
]
UWSGI_STARTS = UWSGI_ROWS[0]
"""The row that is started again and again."""
UVICORN = "uvicorn fastapi_app:app --port PORT"
UVICORN_ENDS = "a flush at the application's shutdown: SIGTERM kills uvicorn, with what is not sent yet"
"""uvicorn raises the signal again once it has shut down: no exit handler runs."""
ASGI_GUNICORN = (
    "gunicorn fastapi_app:app -k uvicorn_worker.UvicornWorker -w 3 -b 127.0.0.1:PORT"
)
RELOADED = Row(
    "uvicorn --reload",
    f"{UVICORN} --reload --reload-dir FOLDER",
    needs=UVICORN_ENDS,
    flushes=False,
    files=("changed.py",),
)
PRELOADED = Row(
    "gunicorn --preload with uvicorn's workers",
    f"{ASGI_GUNICORN} --preload",
    4,
    1,
    receipts=MASTER,
)
SERVERS = [
    Row("uvicorn", UVICORN, needs=UVICORN_ENDS, flushes=False),
    Row(
        "uvicorn --workers 3",
        f"{UVICORN} --workers 3",
        3,
        receipts="workers",
        needs=UVICORN_ENDS,
        flushes=False,
    ),
    RELOADED,
    Row("gunicorn with uvicorn's workers", ASGI_GUNICORN, 3, receipts="workers"),
    PRELOADED,
    Row("gunicorn sync", GUNICORN, 2, receipts="workers"),
    Row(
        "gunicorn gthread", f"{GUNICORN} -k gthread --threads 4", 2, receipts="workers"
    ),
    Row(
        "gunicorn gevent, with subprocesses",
        f"{GUNICORN} -k gevent",
        2,
        receipts="workers",
        environ={"MATRIX_SUBPROCESS": "1"},
    ),
    Row(
        "gunicorn gevent --preload, patched by the application",
        f"{GUNICORN} -k gevent --preload",
        3,
        1,
        stays=1,
        receipts="workers; the master's says that it can't follow",
        needs="let gunicorn patch, in each worker: then the master follows, too",
        environ={"MATRIX_SUBPROCESS": "1", "MATRIX_PATCH": "1"},
    ),
    Row(
        "Django, gunicorn gthread --preload",
        "gunicorn django_app:app -w 2 -k gthread --preload -b 127.0.0.1:PORT",
        3,
        1,
        receipts=MASTER,
    ),
    Row(
        "Flask, waitress",
        "waitress-serve --listen=127.0.0.1:PORT flask_app:app",
        needs="an end by SIGINT: SIGTERM kills waitress, with what is not sent yet",
        flushes=False,
    ),
    Row(
        "hypercorn",
        "hypercorn fastapi_app:app -b 127.0.0.1:PORT -w 2",
        2,
        receipts="workers",
    ),
    Row(
        "granian, ASGI",
        "granian --interface asgi fastapi_app:app --port PORT --workers 2",
        2,
        receipts="workers",
    ),
    Row(
        "granian, WSGI",
        "granian --interface wsgi flask_app:app --port PORT --workers 2",
        2,
        receipts="workers",
        needs="a flush before the end: no exit handler runs in its workers",
        flushes=False,
    ),
]
WORKERS = [
    Row("Celery prefork", f"{CELERY} -c 2", 3, 1, receipts=MASTER, queue="celery"),
    Row(
        "Celery prefork --max-tasks-per-child 20",
        f"{CELERY} -c 2 --max-tasks-per-child 20",
        3,
        1,
        least=2,
        receipts=MASTER,
        queue="celery",
    ),
    Row("Celery threads", f"{CELERY} -P threads -c 4", queue="celery"),
    Row("Celery solo", f"{CELERY} -P solo", queue="celery"),
    Row("Celery gevent", f"{CELERY} -P gevent -c 20", queue="celery"),
    Row(
        "Celery worker -B",
        f"{CELERY} -c 2 -B -s FOLDER/schedule",
        4,
        1,
        receipts="main process, beat and workers",
        needs="a beat of its own: Celery kills this one, or waits for it for ever",
        queue="beat",
        flushes=False,
        hangs=True,
        environ={"MATRIX_BEAT": "1"},
    ),
    Row(
        "Celery beat",
        "celery -A celery_tasks beat --loglevel WARNING -s FOLDER/schedule "
        "--pidfile FOLDER/pid",
        queue="beat",
        environ={"MATRIX_BEAT": "1"},
    ),
    Row("Celery eventlet", f"{CELERY} -P eventlet -c 20", queue="celery"),
    Row(
        "Celery --autoscale 4,1",
        f"{CELERY} --autoscale 4,1",
        5,
        1,
        least=2,
        receipts=MASTER,
        queue="celery",
        environ={"AUTOSCALE_KEEPALIVE": "1", "MATRIX_SECONDS": "0.05"},
    ),
    Row(
        "RQ",
        "rq worker -c rq_settings --url BROKER",
        2,
        1,
        least=1,
        receipts="worker; a job's process if it lives long enough",
        queue="rq",
        between=12,
    ),
    Row(
        "RQ SimpleWorker",
        "rq worker -w rq.SimpleWorker -c rq_settings --url BROKER",
        queue="rq",
    ),
    Row(
        "dramatiq",
        "dramatiq dramatiq_tasks -p 2 -t 2",
        2,
        receipts="workers",
        queue="dramatiq",
    ),
    Row("arq", "arq arq_tasks.WorkerSettings", queue="arq"),
]
PROGRAMS = [
    Row("script with threads", "python script.py"),
    Row("asyncio", "python loop.py"),
    Row("APScheduler", "python scheduler.py"),
    Row("python-daemon", "python supervise.py python daemonized.py"),
    Row(
        "multiprocessing, fork",
        "python pools.py fork",
        3,
        1,
        receipts="parent and children",
        needs=POOL,
        flushes=False,
    ),
    Row(
        "multiprocessing, spawn",
        "python pools.py spawn",
        3,
        receipts="parent and children",
        needs=f"`init` in each child; {POOL}",
        flushes=False,
    ),
    Row(
        "multiprocessing, forkserver",
        "python pools.py forkserver",
        3,
        receipts="parent and children",
        needs=f"`init` in each child; {POOL}",
        flushes=False,
    ),
    Row(
        "clone by ctypes, all descriptors closed",
        "python cloned.py",
        2,
        1,
        receipts="parent; child at its first event",
        plain="loses the child's first event",
    ),
    Row(
        "double fork in the middle of a build",
        "python doublefork.py",
        20,
        1,
        least=1,
        receipts="parent; children that live long enough",
        plain="loses some, sends some twice; children hang",
        code=0,
    ),
]
ROWS = [*UWSGI_ROWS, *SERVERS, *WORKERS, *PROGRAMS]


def table() -> str:
    """Return the rows as the Markdown table of `docs/library.md`."""
    titles = (
        "process model",
        "followed",
        "lost",
        "twice",
        "receipts",
        "what it needs",
        "sentry-sdk alone",
    )
    lines = [titles, ("---",) * len(titles)]
    lines += [
        (row.name, "yes", "0", "0", row.receipts, row.needs, row.plain or "the same")
        for row in ROWS
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
