"""Standard error, written by one thread. Whoever writes a line waits for nobody.

Standard error may be a pipe that nobody reads, a full disk, or closed. Then lines wait in
a queue with a limit. Lines over the limit are lost, counted, and told of later.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

QUEUE_BYTES = 256 * 1024
"""The limit of all lines that wait."""
LEAVE_SECONDS = 0.5
"""At the end of the process, the longest wait for the lines to be written."""
NO_FILE = -1
"""Standard error is closed: every line is lost."""


class _Line(NamedTuple):
    """One line. A notice `tells_of` so many lost lines."""

    body: bytes
    tells_of: int = 0


class Lines:
    """Lines on their way to a file descriptor. Any thread may call any method.

    `notice` makes the line that tells of so many lost lines.
    """

    def __init__(self, file: int, limit: int = QUEUE_BYTES) -> None:
        self._file = file
        self._limit = limit
        self._turn = threading.Condition()
        self._waiting: deque[_Line] = deque()
        self._bytes = 0
        self._untold = 0
        self._thread: threading.Thread | None = None
        self.lost = 0
        """The number of lines that were lost since the start."""
        self.notice: Callable[[int], str] = _notice

    def put(self, text: str) -> None:
        """Have one line written soon. The call neither waits nor raises."""
        line = _encoded(text)
        with self._turn:
            fits = self._bytes + len(line) <= self._limit
            if self._file == NO_FILE or not fits or not self._can_write():
                self.lost += 1
                self._untold += 1
                return
            self._tell()
            self._append(_Line(line))
            self._turn.notify_all()

    def lose(self) -> None:
        """Count a line that is not written, because its kind comes too often."""
        with self._turn:
            self.lost += 1

    def flush(self, seconds: float) -> None:
        """Wait until all lines are written, but no longer than this."""
        with self._turn:
            self._turn.wait_for(lambda: not self._bytes, seconds)

    def _can_write(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="stderr", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no thread left, or Python ends
                return False
            self._thread = thread
        return True

    def _append(self, line: _Line) -> None:
        self._waiting.append(line)
        self._bytes += len(line.body)

    def _tell(self) -> None:
        """Append the notice of the lines that were lost since the last notice."""
        if self._untold:
            notice = _encoded(self.notice(self._untold))
            self._append(_Line(notice, self._untold))
            self._untold = 0

    def _work(self) -> None:
        is_written = True
        while True:
            with self._turn:
                if is_written and not self._waiting:
                    self._tell()
                self._turn.wait_for(lambda: self._waiting)
                lines = list(self._waiting)
                self._waiting.clear()
            is_written = _write(self._file, b"".join(line.body for line in lines))
            with self._turn:
                self._bytes -= sum(len(line.body) for line in lines)
                if not is_written:
                    self.lost += sum(not line.tells_of for line in lines)
                    self._untold += sum(line.tells_of or 1 for line in lines)
                self._turn.notify_all()


def _encoded(line: str) -> bytes:
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _write(file: int, body: bytes) -> bool:
    """Write everything, however long it takes. Returns false after an error."""
    view = memoryview(body)
    while view:
        try:
            view = view[os.write(file, view) :]
        except BlockingIOError:  # another holder of the pipe made it non-blocking
            _wait_until_writable(file)
        except OSError:  # as of a full disk
            return False
    return True


def _wait_until_writable(file: int) -> None:
    poll = select.poll()
    poll.register(file, select.POLLOUT)
    poll.poll(1000)
    time.sleep(0.01)


def _notice(lost: int) -> str:
    return f"warning: {lost} lines were lost, because standard error was not read"


def _descriptor() -> int:
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):  # closed, or not a file
        return NO_FILE


_lines: Lines | None = None
_lock = threading.Lock()


def lines() -> Lines:
    """Return the lines of this process's standard error."""
    global _lines  # noqa: PLW0603 - there is one standard error
    with _lock:
        if _lines is None:
            _lines = Lines(_descriptor())
            atexit.register(leave)
        return _lines


def say(text: str) -> None:
    """Have a text written to standard error."""
    lines().put(text)


def leave() -> None:
    """Give the last lines a moment. Python calls this at its end; `os._exit` does not."""
    if _lines is not None:
        _lines.flush(LEAVE_SECONDS)


def open_standard_files() -> None:
    """Open `/dev/null` in the place of standard files that are closed.

    Else the next file that is opened would become standard error.
    """
    with contextlib.suppress(OSError):
        while (file := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(file)
