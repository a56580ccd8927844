"""Keeps the library's errors away from the application: they are counted and logged.

Logging belongs to the application: its filters and handlers may raise, or log again. So
every log line of the library goes through `say`, which catches both.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from resentry import clock
from resentry.process import here

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

NOTICE_SECONDS = 5.0
"""A problem is logged and shown after it has lasted this long."""

_log = logging.getLogger("resentry")


class _Saying(threading.local):
    is_on = False


_saying = _Saying()


def say(level: int, message: str, *args: object, with_error: bool = False) -> None:
    """Log a line. Never raises. A line that is logged while another one is, is left out."""
    if _saying.is_on:
        return
    _saying.is_on = True
    try:
        _log.log(level, message, *args, exc_info=with_error)
    except Exception:  # noqa: BLE001 - a filter or handler of the application's
        here().tally.faults += 1
    finally:
        _saying.is_on = False


def fault(where: str) -> None:
    """Count and log the exception that is being handled."""
    here().tally.faults += 1
    text = "resentry: %s failed; the application goes on"
    say(logging.ERROR, text, where, with_error=True)


def text_of(error: BaseException) -> str:
    """Return an exception's class and text; only the class if its text raises."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the application's own class
        return type(error).__name__


def harmless(
    where: str, otherwise: Callable[[], Any]
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function return `otherwise()` instead of raising."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def safe(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return function(*args, **kwargs)
            except Exception:  # noqa: BLE001 - the application comes first
                fault(where)
                answer: T = otherwise()
                return answer

        return safe

    return decorate


class Notice:
    """A problem that may last: logged once after some seconds, and shown until it ends."""

    def __init__(self, after: float = NOTICE_SECONDS) -> None:
        self._after = after
        self.shown: str | None = None
        self.problem: str | None = None
        """What is wrong now, even if it has not lasted long enough to be shown."""
        self._since = 0.0

    def note(self, problem: str | None) -> None:
        """Record at each look what is wrong now, always in the same words, or `None`."""
        now = clock.monotonic()
        if problem != self.problem:
            self.problem, self._since = problem, now
            if problem is None:
                self.shown = None
        if now - self._since >= self._after:
            self.log()

    def log(self) -> None:
        """Log and show the problem now, if there is one."""
        if self.problem not in (None, self.shown):
            self.shown = self.problem
            say(logging.WARNING, "resentry: %s", self.problem)
