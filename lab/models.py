"""Process models under load: what they are sent, what arrives, over many rotations.

No agent: snapshots are published by hand, so that a rotation takes as long as the
processes need for it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

import requests

from agent.confirm.receipts import Receipts
from lab.process import Process, eventually
from lab.swaps import publish, settings_for
from lab.system import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.rollout import LiveTarget
    from lab.sink import Sink
    from resentry.contract import Snapshot

SETTLED_SECONDS = 20.0


class Work(Protocol):
    """Something that has a process capture events, and knows their ids."""

    def sent(self) -> list[str]:
        """Return the ids of the events captured so far; `None` for one without."""

    def stop(self) -> None:
        """Return when no more is captured."""


class Requests:
    """Work of an API: each request reports an event and is answered with its id.

    No two requests have the same number.
    """

    def __init__(self, url: str, threads: int = 3, pause: float = 0.01) -> None:
        self._url = url
        self._pause = pause
        self.held = False
        """Whether none is sent for now."""
        self._numbers = itertools.count(1)
        self._ids: list[str] = []
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        # A new connection each time, so that every worker gets its share.
        alone = {"Connection": "close"}
        while not self._stop.wait(self._pause):
            if self.held:
                continue
            url = f"{self._url}/event/{next(self._numbers)}"
            try:
                answer = requests.post(url, headers=alone, timeout=30)
                answer.raise_for_status()
            except requests.RequestException as error:
                self.failed.append(str(error))
                continue
            self._ids.append(str(answer.json()))

    def sent(self) -> list[str]:
        return list(self._ids)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


class Program:
    """Work of which a program appends the ids to a file, until SIGTERM."""

    def __init__(self, path: Path, process: Process) -> None:
        self._path = path
        self._process = process

    def sent(self) -> list[str]:
        return self._path.read_text().split() if self._path.exists() else []

    def stop(self) -> None:
        self._process.stop()


class Account(NamedTuple):
    """What came of a run: the figures that must be right."""

    name: str
    rotations: int
    sent: int
    received: int
    lost: int
    duplicated: int
    misplaced: int
    """Events and transactions whose environment or release is another project's."""

    def __str__(self) -> str:
        return (
            f"{self.name}: rotations {self.rotations}, sent {self.sent}, "
            f"received {self.received}, lost {self.lost}, "
            f"duplicated {self.duplicated}"
        )


class Model:
    """Processes that follow a volume of their own, and the projects of one sink."""

    def __init__(self, sink: Sink, projects: int = 3) -> None:
        self.sink = sink
        self.folder = Path(tempfile.mkdtemp(prefix="lab-model-"))
        self.volume = self.folder / "volume"
        self.rotations = -1
        self._projects = projects
        self._processes: list[Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        # Readable by everybody, as the processes of a test are one user's.
        (self.volume / "receipts").mkdir(parents=True)
        self.rotate()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def project(self) -> int:
        """The project of the newest snapshot."""
        return self.rotations % self._projects + 1

    def rotate(self) -> Snapshot:
        """Publish a snapshot for the next project."""
        self.rotations += 1
        settings = settings_for(self.project, self.sink.dsn(self.project))
        self.newest = publish(self.volume, self.rotations + 1, settings)
        return self.newest

    def spawn(
        self,
        *command: str,
        cwd: Path,
        ready: Callable[[], bool] | None = None,
        environ: Mapping[str, str] | None = None,
        within: float = 20.0,
    ) -> Process:
        """Start a command that follows the volume; it is `ready` within that time."""
        process = Process(
            command,
            env={
                "PATH": f"{COMMANDS}{os.pathsep}{os.environ.get('PATH', '')}",
                "HOME": str(self.folder),
                "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": str(cwd),
                "RESENTRY_DIR": str(self.volume),
                **(environ or {}),
            },
            cwd=cwd,
            ready=ready,
            within=within,
        )
        self._processes.append(process)
        return self._stack.enter_context(process)

    def targets(self) -> list[LiveTarget]:
        """Return the live targets, as an agent would see them."""
        return Receipts(f"{self.volume}/receipts", tidy=True).read()

    def converge(self, targets: int, least: int = 0, stays: int = 0) -> None:
        """Return once so many targets run the newest snapshot, and are drained.

        With `least`, fewer will do: where processes come and go all the time. With
        `stays`, so many of them may say that they can't follow.
        """

        def settled() -> bool:
            found = self.targets()
            late = [
                each
                for each in found
                if not each.runs(self.newest) or each.receipt.phase != "drained"
            ]
            return (least or targets) <= len(found) <= targets and (
                len(late) <= stays
                and all(each.receipt.watch.endswith("greenlet") for each in late)
            )

        try:
            eventually(settled, SETTLED_SECONDS)
        except TimeoutError:
            wanted = f"{targets} targets at {self.newest.sequence}"
            found = [target.receipt for target in self.targets()]
            logs = "".join(process.log_text() for process in self._processes)
            raise TimeoutError(f"{wanted}, not {found}\n{logs[-4000:]}") from None

    def account(self, name: str, work: Work) -> Account:
        """Compare what was captured with what arrived; wait a while for the last."""
        sent = work.sent()
        deadline = time.monotonic() + SETTLED_SECONDS
        while set(sent) - set(self.sink.event_ids()) and time.monotonic() < deadline:
            time.sleep(0.05)
        received = self.sink.event_ids()
        return Account(
            name,
            self.rotations,
            len(sent),
            len(received),
            len(set(sent) - set(received)),
            self.sink.duplicates(),
            sum(
                (each.environment, each.release)
                != (f"env-{each.project}", f"release-{each.project}")
                for each in self.sink.events() + self.sink.transactions()
            ),
        )


def await_more(work: Work, events: int, within: float = 30.0) -> None:
    """Return when so many more events have been captured."""
    enough = len(work.sent()) + events
    eventually(lambda: len(work.sent()) >= enough, within, f"{events} more events")
