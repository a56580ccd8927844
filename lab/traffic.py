"""Requests to the example, and the exact events that they must lead to."""

from __future__ import annotations

import threading
from typing import Self

import requests

from lab.process import eventually


class Traffic:
    """Enrols students from several threads, until the context ends.

    Each enrolment reports one event in the API and, through Celery, one in a worker;
    the ids of both are known from the answers.
    """

    def __init__(self, url: str, threads: int = 4, pause_seconds: float = 0.05) -> None:
        self._url = url
        self._pause = pause_seconds
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._enrol, args=(start,), daemon=True)
            for start in range(1, threads + 1)
        ]
        self.events: list[str | None] = []
        """Ids of the API's events; `None` for a capture that gave no id."""
        self.tasks: list[str] = []
        self.failed: list[str] = []
        """Requests that were not answered with 200."""

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def url(self) -> str:
        """Where the next request goes."""
        return self._url

    def stop(self) -> None:
        """Send nothing more; what was sent has been answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _enrol(self, student: int) -> None:
        while not self._stop.wait(self._pause):
            try:
                # A new connection each time, so that every worker gets its share.
                answer = requests.post(
                    f"{self.url()}/enrol/{student}",
                    headers={"Connection": "close"},
                    timeout=30,
                )
                answer.raise_for_status()
            except requests.RequestException as error:
                self.failed.append(str(error))
                continue
            body = answer.json()
            self.events.append(body["event"])
            self.tasks.append(body["task"])
            student += len(self._threads)

    def await_more(self, requests: int, within: float = 30.0) -> None:
        """Return when so many more requests have been answered."""
        enough = len(self.events) + requests
        eventually(lambda: len(self.events) >= enough, within, "traffic")

    def graded(self, within: float = 30.0) -> list[str | None]:
        """Wait until every task has run; return the ids of the workers' events."""
        return [self._await_result(task, within) for task in list(self.tasks)]

    def _await_result(self, task: str, within: float) -> str | None:
        return eventually(lambda: self._result(task), within, f"task {task}")[0]

    def _result(self, task: str) -> tuple[str | None] | None:
        body = requests.get(f"{self.url()}/grades/{task}", timeout=30).json()
        return (body["event"],) if body["ready"] else None
