"""The real-time signal: it ends a target's wait, in the main thread."""

from __future__ import annotations

import contextlib
import logging
import signal
from typing import TYPE_CHECKING

from resentry.contract import signal_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

log = logging.getLogger("resentry")


def listen(environ: Mapping[str, str], wake: Callable[[], None]) -> int | None:
    """Call `wake` on the signal that `RESENTRY_SIGNAL` names; return its number.

    `None` where the application has that signal, where there is none, and outside the
    main thread: watching serves.
    """

    def handler(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # the watch was closed this moment
            wake()

    try:
        number = signal_number(environ.get("RESENTRY_SIGNAL", ""))
        if number is None or signal.getsignal(number) is not signal.SIG_DFL:
            return None
        signal.signal(number, handler)
        signal.siginterrupt(number, False)  # no EINTR for the application
    except ValueError as error:
        log.info("resentry: no signal handler (%s); watching serves", error)
        return None
    return number
