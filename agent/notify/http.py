"""Notifies receivers: a POST to each, repeated until one succeeds. Nobody waits."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from agent.backoff import backoff_seconds
from agent.domain.receiver import Delivery, is_expected, receiver_names
from agent.domain.value import replace
from agent.web import post

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from resentry.contract import Snapshot

CAP_SECONDS = 60.0
"""The longest wait between two tries."""


class Receivers:
    """Notifies every URL of the newest snapshot. Each URL has a thread of its own.

    `send` posts to a URL with headers, and returns the status. It may block.
    """

    def __init__(
        self,
        urls: Sequence[str],
        send: Callable[[str, Mapping[str, str]], int],
        expected: str = "2xx",
        pause: Callable[[int, float], float] = backoff_seconds,
    ) -> None:
        self._changed: Callable[[], None] = lambda: None
        self._receivers = [
            _Receiver(url, name, send, expected, pause, self._report_changed)
            for url, name in zip(urls, receiver_names(urls), strict=True)
        ]

    def on_report_change(self, changed: Callable[[], None]) -> None:
        """Have `changed` called, from any thread, when the report has changed."""
        self._changed = changed

    def notify(self, snapshot: Snapshot | None) -> None:
        """Notify each receiver of this snapshot, and no longer of older ones."""
        if snapshot is not None:
            for receiver in self._receivers:
                receiver.notify(snapshot)

    def report(self) -> tuple[Delivery, ...]:
        """Return the state of each receiver."""
        return tuple(receiver.delivery for receiver in self._receivers)

    def wait(self, seconds: float) -> None:
        """Wait until each receiver was tried once. `once` calls this before it exits."""
        deadline = time.monotonic() + seconds
        for receiver in self._receivers:
            receiver.wait(deadline - time.monotonic())

    def _report_changed(self) -> None:
        self._changed()


class _Receiver:
    """One URL, with a thread, and a slot in which a newer snapshot replaces an older."""

    def __init__(
        self,
        url: str,
        name: str,
        send: Callable[[str, Mapping[str, str]], int],
        expected: str,
        pause: Callable[[int, float], float],
        changed: Callable[[], None],
    ) -> None:
        self._url = url
        self._send = send
        self._expected = expected
        self._pause = pause
        self._changed = changed
        self._turn = threading.Condition()
        self._newest: tuple[str, int] | None = None
        self._tried: tuple[str, int] | None = None
        self._thread: threading.Thread | None = None
        self.delivery = Delivery(name)

    def notify(self, snapshot: Snapshot) -> None:
        with self._turn:
            self._newest = snapshot.revision, snapshot.sequence
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="notify", daemon=True
                )
                self._thread.start()
            self._turn.notify_all()

    def wait(self, seconds: float) -> None:
        with self._turn:
            self._turn.wait_for(lambda: self._tried == self._newest, max(0.0, seconds))

    def _work(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(
                    lambda: (
                        self._newest != (self.delivery.revision, self.delivery.sequence)
                    )
                )
                newest = self._newest
            if newest is None:
                continue
            error = self._try(*newest)
            with self._turn:
                self.delivery = self._after(newest, error)
                self._tried = newest
                self._turn.notify_all()
            self._changed()
            if error is not None:
                self._await_newer(newest)

    def _await_newer(self, failed: tuple[str, int]) -> None:
        """Pause before the next try. A newer snapshot ends the pause."""
        seconds = self._pause(self.delivery.failures, CAP_SECONDS)
        with self._turn:
            self._turn.wait_for(lambda: self._newest != failed, seconds)

    def _try(self, revision: str, sequence: int) -> str | None:
        """Post to the receiver once. Return the error, or `None`."""
        headers = {"Resentry-Revision": revision, "Resentry-Sequence": str(sequence)}
        try:
            status = self._send(self._url, headers)
        except OSError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread
            return f"unexpected internal error ({type(error).__name__})"
        good = is_expected(status, self._expected)
        return None if good else f"status {status} instead of {self._expected}"

    def _after(self, newest: tuple[str, int], error: str | None) -> Delivery:
        before = self.delivery
        if error is None:
            return Delivery(before.receiver, *newest, since=time.time())
        since = before.since if before.failures else time.time()
        return replace(before, failures=before.failures + 1, error=error, since=since)


def notify_sender(
    headers: Mapping[str, str], user_agent: str, seconds: float
) -> Callable[[str, Mapping[str, str]], int]:
    """Return the function that sends a POST without a body, with these headers."""

    def send(url: str, own: Mapping[str, str]) -> int:
        sent = {"User-Agent": user_agent, **headers, **own}
        return post(url, sent, b"", seconds)[0]

    return send
