"""Processes that follow a volume: load for them, and rotations that they take up.

No agent: snapshots are published by hand, so that a rotation takes as long as the
processes need for it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import requests

from agent.confirm.receipts import Receipts
from lab.process import Process, eventually
from lab.swaps import publish, settings_for
from lab.system import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from agent.domain.rollout import Target
    from lab.sink import Sink
    from resentry.contract import Snapshot

SETTLED_SECONDS = 20.0


class Requests:
    """Work of an API: requests that report an event each, until `stop`.

    No two of them have the same number.
    """

    def __init__(self, url: str, threads: int, pause: float) -> None:
        self._url = url
        self._pause = pause
        self.held = False
        """Whether none is sent for now."""
        self._numbers = itertools.count(1)
        self.failed: list[str] = []
        """Why those failed that got no answer."""
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

    def stop(self) -> None:
        """Return when every request that was sent has its answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


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

    def targets(self) -> list[Target]:
        """Return the live targets, as an agent would see them."""
        return Receipts(f"{self.volume}/receipts", tidy=True).read()

    def converge(self, targets: int, least: int = 0) -> None:
        """Return once so many targets run the newest snapshot, and are drained.

        With `least`, fewer will do: where processes come and go all the time.
        """

        def settled() -> bool:
            found = self.targets()
            return (least or targets) <= len(found) <= targets and all(
                each.runs(self.newest) and each.receipt.phase == "drained"
                for each in found
            )

        try:
            eventually(settled, SETTLED_SECONDS)
        except TimeoutError:
            wanted = f"{targets} targets at {self.newest.sequence}"
            found = [target.receipt for target in self.targets()]
            logs = "".join(process.log_text() for process in self._processes)
            raise TimeoutError(f"{wanted}, not {found}\n{logs[-4000:]}") from None
