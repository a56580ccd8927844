"""The store: SQLite, written by one thread. What is answered for is on the disk.

Whatever waits is written in one transaction: at a high rate many webhooks share an fsync.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from agent.bridge import tables
from agent.bridge.reading import BUSY_SECONDS, Reader
from agent.bridge.tables import StoreError
from agent.locks import hold

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.bridge.tables import Result, Webhook

T = TypeVar("T")
Job = tuple["Callable[[sqlite3.Connection], Any]", "Future[Any]"]
QUEUE_LIMIT = 1024
"""So many webhooks may wait to be written."""
BATCH = 256
TIDY_SECONDS = 600.0
RIVAL_SECONDS = 30.0
"""So long a bridge waits for the end of another one: a pod's usual grace period."""
METRIC_SILENT_SECONDS = 7 * 86_400.0
"""Sentry says nothing of a metric alert while it stays open, so it may be silent for long."""

log = structlog.get_logger()


class Full(Exception):
    """Too much waits already."""


class Store:
    """The store of one bridge. Raises `StoreError` if the file cannot be used.

    An issue's alert is closed after `silent_seconds` without a webhook of the issue, a
    metric alert after a week at least.
    `changed` is called, in the store's thread, after an alert has opened or closed.
    """

    def __init__(
        self, path: str, silent_seconds: float, limit: int = QUEUE_LIMIT
    ) -> None:
        self._silent = silent_seconds
        self._jobs: queue.Queue[Job | None] = queue.Queue(limit)
        self.changed: Callable[[], None] = lambda: None
        self.reason = ""
        """Why the newest transaction failed; empty if it did not."""
        path = os.path.realpath(path)  # a link to a store is that store
        self._lock = _lock(path)
        try:
            self._connection = _connect(path)
        except (sqlite3.Error, OSError) as error:
            os.close(self._lock)
            raise StoreError(
                f"cannot open the store {path}: {error}",
                "free space or correct the access rights; if the file is damaged, move it "
                "away: open alerts come back with their next webhook",
            ) from None
        self.reader = Reader(path)
        self._tidied = 0.0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait to be written."""
        return self._jobs.qsize()

    @property
    def is_alive(self) -> bool:
        """Whether the thread that writes still runs."""
        return self._thread.is_alive()

    def take(self, webhook: Webhook) -> Future[Result]:
        """Have a webhook written. The future has a result once it is on the disk.

        Raises `Full`.
        """
        return self.submit(
            lambda connection: tables.take(connection, webhook, time.time())
        )

    def submit(self, job: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Have a job done in a transaction. Raises `Full`."""
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()  # whoever waits may go: it is written
        try:
            self._jobs.put_nowait((job, future))
        except queue.Full:
            raise Full from None
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        os.close(self._lock)

    def _run(self) -> None:
        is_over = False
        while not is_over:
            batch = [self._jobs.get()]
            while len(batch) < BATCH and not self._jobs.empty():
                batch.append(self._jobs.get())
            jobs = [job for job in batch if job is not None]
            is_over = len(jobs) < len(batch)
            while jobs:  # what fails alone is left out, and the others begin again
                done = self._write(jobs)
                jobs = [] if done is jobs else [job for job in jobs if job not in done]
            if time.monotonic() - self._tidied > TIDY_SECONDS:
                self._tidied = time.monotonic()
                self._write([(self._tidy, Future())])

    def _write(self, jobs: list[Job]) -> list[Job]:
        """Do these in one transaction, and return those that are over: done, or failed."""
        connection, results = self._connection, list[Any]()
        try:
            before = self._changes()
            connection.execute("BEGIN IMMEDIATE")
            results += [None]  # it has begun
            for job, _ in jobs:
                results.append(job(connection))
            connection.execute("COMMIT")
            is_changed = self._changes() != before
        except Exception as error:  # noqa: BLE001 - the thread has to go on
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            failed = jobs
            if 0 < len(results) <= len(jobs) and not _is_of_the_disk(error):
                failed = [jobs[len(results) - 1]]
            self._fail(failed, error)
            return failed
        self.reason = ""
        for (_, future), result in zip(jobs, results[1:], strict=True):
            future.set_result(result)
        if is_changed:
            self.changed()
        return jobs

    def _fail(self, jobs: list[Job], error: Exception) -> None:
        self.reason = str(error)
        is_known = isinstance(error, sqlite3.Error)
        log.error(
            "the bridge cannot write its store",
            reason=self.reason,
            hint="free space on the volume of RESENTRY_BRIDGE_STORE; webhooks are "
            "answered with 503 until then",
            exc_info=None if is_known else error,
        )
        for _, future in jobs:
            future.set_exception(StoreError(f"cannot write the store: {error}"))

    def _tidy(self, connection: sqlite3.Connection) -> None:
        now = time.time()
        for kind, seconds in (
            ("issue", self._silent),
            ("metric", max(self._silent, METRIC_SILENT_SECONDS)),
        ):
            closed = tables.close_silent(connection, kind, now - seconds, now)
            if closed:
                log.warning(
                    "alerts were closed: no webhook of their subjects came for long",
                    alerts=closed,
                    kind=kind,
                    hint="look in Sentry whether they are over; subscribe the integration "
                    "to the resource issue, so that Sentry says when an issue is over",
                )
        tables.tidy(connection, now)

    def _changes(self) -> Any:
        found = self._connection.execute(
            "SELECT value FROM facts WHERE name = 'change'"
        )
        return found.fetchone()


def _is_of_the_disk(error: Exception) -> bool:
    """Whether every other job would fail like this one: a full disk, a foreign lock."""
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    return error.sqlite_errorcode & 0xFF not in (
        *(sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT),
    )


def _lock(path: str) -> int:
    """Take the lock beside the file: two bridges would post for one another.

    Another bridge may be about to end: in Kubernetes the next pod of a deleted one starts
    before that has ended.
    """
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(
            f"cannot open the store {path}: {error.strerror}",
            "set RESENTRY_BRIDGE_STORE to a file in a directory that the bridge can write",
        ) from None
    if not hold(lock):
        log.warning(
            "another bridge uses the store; this one waits for its end",
            store=path,
            seconds=RIVAL_SECONDS,
        )
    until = time.monotonic() + RIVAL_SECONDS
    while not hold(lock):
        if time.monotonic() > until:
            os.close(lock)
            raise StoreError(
                f"another bridge uses the store {path}",
                "run one bridge for each store: one replica, with the strategy Recreate",
            )
        time.sleep(0.1)
    return lock


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    os.chmod(path, 0o600)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # an fsync at each commit
    tables.prepare(connection)
    return connection
