"""Nothing of ours reaches the application: what goes wrong is counted and logged.

Logging is the application's: a filter or a handler of its own may raise, or log again. So
every line of ours goes through here, and none is logged while another one is.
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
"""So long something has to be wrong until it is told."""

_log = logging.getLogger("resentry")


class _Saying(threading.local):
    is_on = False


_saying = _Saying()


def say(level: int, message: str, *args: object, with_error: bool = False) -> None:
    """Log a line. Never raises; a line from within a line is left out."""
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
    """Count the exception that is being handled, and log it."""
    here().tally.faults += 1
    text = "resentry: %s failed; the application goes on"
    say(logging.ERROR, text, where, with_error=True)


def text_of(error: BaseException) -> str:
    """Return class and text of an exception; it may be one that can't be written down."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the application's own class
        return type(error).__name__


def harmless(
    where: str, otherwise: Callable[[], Any]
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Let a function answer `otherwise()` where it would raise."""

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
    """What has been wrong for some seconds: logged once, and shown until it is over."""

    def __init__(self, after: float = NOTICE_SECONDS) -> None:
        self._after = after
        self.shown: str | None = None
        self.problem: str | None = None
        """What is wrong, if only since now."""
        self._since = 0.0

    def note(self, problem: str | None) -> None:
        """Say at each look what is wrong now, in the same words; `None`: nothing."""
        now = clock.monotonic()
        if problem != self.problem:
            self.problem, self._since = problem, now
            if problem is None:
                self.shown = None
        if now - self._since >= self._after:
            self.tell()

    def tell(self) -> None:
        """Tell it now, if something is wrong."""
        if self.problem not in (None, self.shown):
            self.shown = self.problem
            say(logging.WARNING, "resentry: %s", self.problem)
