"""A thread that does its work in rounds until it is stopped."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import structlog

log = structlog.get_logger()


class Rounds(ABC):
    """Runs `_round` in a thread of that name, at once and then again and again.

    Args:
        thread: the thread's name.
        seconds: the pause after a round that could not end as planned.

    """

    def __init__(self, thread: str, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread, daemon=True)

    def start(self) -> None:
        """Begin the first round."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Begin no further round, and wait so long for the end of the present one."""
        self._over.set()
        self._thread.join(seconds)

    @abstractmethod
    def _round(self) -> float:
        """Do the work once; return the seconds until the next round."""

    def _run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            try:
                pause = self._round()
            except Exception:  # a bug must not end the thread
                pause = self._seconds
                log.exception(
                    "a round of the bridge has failed; the next one follows",
                    thread=self._thread.name,
                )
