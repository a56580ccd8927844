"""One program of the matrix, run with the library or with sentry-sdk alone.

Every capture is a line in a file, written by the process that captured; the receiver
knows what arrived. Both together tell what was lost, doubled or sent to an old project.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from lab.models import Model, Requests
from lab.paths import REPOSITORY
from lab.process import eventually, free_port, listens
from lab.sink import Sink
from lab.swaps import settings_for
from lab.valkey import Valkey

if TYPE_CHECKING:
    from lab.matrix import Row
    from lab.process import Process

ENVIRONMENT = REPOSITORY / ".matrix" / "bin"
"""Where the servers of the matrix are: `make matrix` builds it."""
PROGRAMS = REPOSITORY / "tests" / "matrix" / "programs"
ROTATIONS = 4
REQUEST_THREADS = 3
REQUEST_PAUSE = 0.06
BEHIND = 20
"""With so many events under way the load holds back, however slow the machine is: what
overflows a queue is no matter of the process model."""
SETTLED_SECONDS = 10.0
START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Capture(NamedTuple):
    """One event, as the process that captured it wrote it down."""

    item: str
    event: str
    pid: int
    began: float
    ended: float


class Result(NamedTuple):
    """What came of one side."""

    captured: int
    missing: list[str]
    """What never arrived: the item, who captured it, how long before the last one."""
    duplicated: int
    """Deliveries beyond the first, of events and transactions."""
    repeated: int
    """Items of work that were done more than once."""
    strayed: int
    """Children in which the application's code went on, though none was for it."""
    failed: int
    """Requests without an answer."""
    late: int
    """Events that went to an old project, though all receipts had confirmed the new."""
    misplaced: int
    """Events whose environment and release are another project's."""
    followed: int
    """Processes that captured after a rotation, and sent to the new project."""
    stop_seconds: float
    code: int | None

    @property
    def lost(self) -> int:
        return len(self.missing)


class Side:
    """The processes of one row, with a receiver and a broker of their own."""

    def __init__(self, row: Row, sdk: Literal["resentry", "plain"]) -> None:
        self.row = row
        self.sdk = sdk
        self.sink = Sink()
        # A project for each snapshot: an event's project says which one it followed.
        self.model = Model(self.sink, projects=ROTATIONS + 1)
        self._confirmed = [0.0]
        """When the n-th snapshot was confirmed, from 0, by the monotonic clock."""
        self._requests: Requests | None = None
        self._sender: Process | None = None
        self._ended = threading.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self.sink)
            stack.enter_context(self.model)
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        environ = {
            "PATH": f"{ENVIRONMENT}{os.pathsep}{os.environ.get('PATH', '')}",
            "PYTHONWARNINGS": "ignore",
            "MATRIX_SDK": self.sdk,
            "MATRIX_IDS": str(self._captures_file),
            **self.row.environ,
        }
        if self.sdk == "plain":
            # The names of the variables are the SDK's own.
            values = settings_for(1, self.sink.dsn(1))
            environ |= {name: str(value) for name, value in values.items()}
        if self.row.queue:
            environ["BROKER_URL"] = stack.enter_context(Valkey()).url
        for name in self.row.files:
            (self.model.folder / name).touch()
        port = free_port()
        command = self.row.command.replace("PORT", str(port))
        command = command.replace("FOLDER", str(self.model.folder))
        command = command.replace("BROKER", environ.get("BROKER_URL", ""))
        is_server = "PORT" in self.row.command
        self.process = self.model.spawn(
            *command.split(),
            cwd=PROGRAMS,
            ready=(lambda: listens(port)) if is_server else None,
            environ=environ,
            within=START_SECONDS,
        )
        if is_server:
            url = f"http://127.0.0.1:{port}"
            self._requests = Requests(url, REQUEST_THREADS, REQUEST_PAUSE)
            stack.callback(self._requests.stop)
        elif self.row.queue and self.row.queue != "beat":
            self._sender = self.model.spawn(
                "python", "sender.py", self.row.queue, cwd=PROGRAMS, environ=environ
            )

        holding = threading.Thread(target=self._hold)
        stack.callback(holding.join)
        stack.callback(self._ended.set)
        holding.start()

    def _hold(self) -> None:
        """Hold the load back while the receiver is behind."""
        flag = Path(f"{self._captures_file}.held")
        while not self._ended.wait(0.02):
            held = self._captured() - self.sink.count("event") > BEHIND
            if self._requests:
                self._requests.held = held
            if held and not self._ended.is_set():
                flag.touch()
            else:
                flag.unlink(missing_ok=True)

    def _captured(self) -> int:
        """Return how many lines the account has; cheaper than `captures`."""
        file = self._captures_file
        return file.read_bytes().count(b"\n") if file.exists() else 0

    @property
    def _captures_file(self) -> Path:
        return self.model.folder / "captures"

    def captures(self) -> list[Capture]:
        """Return what has been captured so far."""
        if not self._captures_file.exists():
            return []
        # What follows the last line break is still being written.
        lines = self._captures_file.read_text().split("\n")[:-1]
        fields = [line.split() for line in lines]
        return [
            Capture(item, event, int(pid), float(began), float(ended))
            for item, event, pid, began, ended in fields
        ]

    def await_more(self, events: int, within: float = START_SECONDS) -> None:
        """Return when so many more events have been captured."""
        enough = self._captured() + events
        try:
            eventually(lambda: self._captured() >= enough, within)
        except TimeoutError:
            raise TimeoutError(
                f"{self.sdk}: {self._captured()} of {enough} events captured\n"
                + self._story()
            ) from None

    def rotate(self) -> None:
        """Publish the next snapshot; return once every target confirmed it."""
        self.model.rotate()
        self.model.converge(self.row.targets, self.row.least, self.row.stays)
        self._confirmed.append(time.monotonic())

    def await_receipts(self) -> None:
        """Return once every live process that captured lately has a receipt."""

        def unproved() -> set[int]:
            since = self._confirmed[-1]
            pids = {each.pid for each in self.captures() if each.began >= since}
            known = {target.receipt.pid for target in self.model.targets()}
            return {pid for pid in pids - known if _runs(pid)}

        try:
            eventually(lambda: not unproved(), SETTLED_SECONDS)
        except TimeoutError:
            raise TimeoutError(
                f"no receipt of {unproved()}, but {self.model.targets()}\n"
                + self._story()
            ) from None

    def finish(self) -> Result:
        """End the work, then the processes, and settle the account."""
        if not self.row.flushes:
            # These end without a chance to send: what they still hold goes first.
            self.end_work()
            self._await_arrivals()
        self.end_work()
        self._await_idle()
        began = time.monotonic()
        code = self.process.stop(STOP_SECONDS)
        took = time.monotonic() - began
        self._await_arrivals()
        return self._account(took, code)

    def end_work(self) -> None:
        """Return when no more work is given."""
        Path(f"{self._captures_file}.over").touch()
        if self._requests:
            self._requests.stop()
        if self._sender:
            self._sender.stop()

    def _await_idle(self) -> None:
        """Return once no worker of uWSGI is in a request.

        A worker that is busy runs no exit handler, and it is busy for a moment longer than
        the client waits (plugins/python/python_plugin.c, `uwsgi_python_atexit`).
        """
        stats = self.model.folder / "stats"
        if stats.exists():
            eventually(lambda: "busy" not in _workers(stats), SETTLED_SECONDS)

    def _await_arrivals(self) -> None:
        """Return once all that was captured has arrived, or nothing more does."""
        deadline = time.monotonic() + SETTLED_SECONDS
        while self._missing() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _missing(self) -> set[str]:
        captured = {each.event for each in self.captures()}
        return captured - set(self.sink.event_ids())

    def _account(self, stop_seconds: float, code: int | None) -> Result:
        captures = self.captures()
        went = {event.event_id: event.project for event in self.sink.events()}
        due = {
            each.event: sum(moment <= each.began for moment in self._confirmed)
            for each in captures
        }
        late = {event for event in due if went.get(event, due[event]) < due[event]}
        items = Counter(each.item for each in captures)
        return Result(
            captured=len(captures),
            missing=self._describe(self._missing()),
            duplicated=self.sink.duplicates(),
            repeated=items.total() - len(items),
            strayed=self._lines(".strays"),
            failed=len(self._requests.failed) if self._requests else 0,
            late=len(late),
            misplaced=sum(
                (each.environment, each.release)
                != (f"env-{each.project}", f"release-{each.project}")
                for each in self.sink.events() + self.sink.transactions()
            ),
            followed=len(
                {
                    each.pid
                    for each in captures
                    if due[each.event] > 1 and went.get(each.event, 0) > 1
                }
            ),
            stop_seconds=stop_seconds,
            code=code,
        )

    def _describe(self, events: set[str]) -> list[str]:
        captures = self.captures()
        last = max((each.ended for each in captures), default=0.0)
        return [
            f"{each.item}, process {each.pid}, {last - each.ended:.3f} s"
            for each in captures
            if each.event in events
        ]

    def _lines(self, suffix: str) -> int:
        path = Path(f"{self._captures_file}{suffix}")
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _story(self) -> str:
        return self.process.log_text()[-4000:]


def _workers(stats: Path) -> set[str]:
    """Return what uWSGI's workers are doing, as its stats server tells."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(stats))
        with asking.makefile() as answer:
            return {worker["status"] for worker in json.load(answer)["workers"]}


def _runs(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
