"""The log: one JSON object per line, without secrets."""

from __future__ import annotations

import logging
import re
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from agent.errors import REPORT, RequestUnknown
from agent.observe.stderr import lines
from agent.redact import redact, redact_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from structlog.typing import WrappedLogger

_DIGITS = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


KINDS = 256
"""The number of kinds of lines that are told apart."""
BURST, PER_SECOND = 50.0, 1.0
"""So many lines of one kind may come at once, and so many in the long run."""


class Limit:
    """Holds back lines of a kind that comes too often, whoever causes them.

    Lines are of one kind if they differ only in digits, in their first 40 characters. The
    next line of the kind says how many were held back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[str, tuple[float, float, int]] = {}
        self._lock = threading.Lock()

    def __call__(
        self, _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the event, or raise `DropEvent`."""
        kind = _DIGITS.sub("", str(event.get("event"))[:40])
        now = self._clock()
        with self._lock:
            at, left, held = self._kinds.pop(kind, (now, BURST, 0))
            left = min(BURST, left + (now - at) * PER_SECOND)
            is_free = left >= 1
            self._kinds[kind] = now, left - is_free, 0 if is_free else held + 1
            while len(self._kinds) > KINDS:  # the one that has not come for longest
                del self._kinds[next(iter(self._kinds))]
        if not is_free:
            lines().lose()
            raise structlog.DropEvent
        if held:
            event["held_back"] = held
        return event


class Level:
    """The lowest level that is logged. Any thread may change `name`."""

    def __init__(self) -> None:
        self.name = "info"

    def __call__(
        self, _logger: WrappedLogger, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the event, or raise `DropEvent`."""
        if not self.shows(method):
            raise structlog.DropEvent
        return event

    def shows(self, method: str) -> bool:
        """Whether lines of this level are logged."""
        return LEVELS.get(method, LEVELS["error"]) >= LEVELS[self.name]


LEVEL = Level()
"""The level of this process's log."""


class Tap:
    """Hands lines of level error to `take`, which the agent's own events set."""

    def __init__(self) -> None:
        self.take: Callable[[MutableMapping[str, Any]], object] | None = None

    def __call__(
        self, _logger: WrappedLogger, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the event as it is."""
        if self.take is not None and method in ("error", "critical"):
            with suppress(
                Exception
            ):  # a line is logged, whatever becomes of its report
                self.take(event)
        return event


TAP = Tap()


def change_level(name: object) -> str:
    """Change the level until the process ends. Return the level that is now in force.

    `None` changes nothing. Raises `RequestUnknown` for what is no level.
    """
    if name is None:
        return LEVEL.name
    if not isinstance(name, str) or name not in LEVELS:
        raise RequestUnknown
    before = LEVEL.name
    sentence = (
        f"the log level is {name} now, until the agent's restart; it was {before}"
    )
    lowest = min(before, name, key=LEVELS.__getitem__)
    shown = "info" if lowest == "debug" else lowest
    if LEVELS[name] <= LEVELS[before]:
        LEVEL.name = name
    getattr(structlog.get_logger(), shown)(sentence)  # while it is still shown
    LEVEL.name = name
    return name


def configure(level: str, form: str) -> None:
    """Set up logging to standard error, once per process. `form` is `json` or `text`."""
    LEVEL.name = level
    render = structlog.processors.JSONRenderer() if form == "json" else _text
    structlog.configure(
        processors=[
            LEVEL,
            Limit(),
            TAP,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS["debug"]),
        logger_factory=_Logger,
        cache_logger_on_first_use=True,
    )
    lines().notice = lambda lost: str(render(None, "", _notice(lost)))
    threading.excepthook = _log_exception
    # One line for each connection that waits: strangers decide how many wait.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    # It warns when a pass takes longer than an interval. The agent logs that itself.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


def _notice(lost: int) -> dict[str, Any]:
    """Return the log line that tells of lost log lines."""
    return {
        "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "level": "warning",
        "event": "log lines were lost: standard error was not read, or not writable",
        "lines": lost,
        "hint": "read the agent's standard error; the metric "
        "resentry_log_lines_lost_total counts the lost lines",
    }


class _Logger:
    """Takes each line as soon as it is made. Nobody waits for standard error."""

    def msg(self, line: str) -> None:
        lines().put(line)

    debug = info = warning = error = critical = msg


def _log_exception(args: threading.ExceptHookArgs) -> None:
    """Log an exception that ends a thread. Python itself would print it."""
    error = args.exc_value or args.exc_type()
    structlog.get_logger().error(
        "a thread ended with an unexpected internal error", exc_info=error, hint=REPORT
    )


def _redacted(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    first = ("timestamp", "level", "event")
    ordered = {key: event[key] for key in first if key in event} | dict(event)
    masked: dict[str, Any] = redact(ordered)
    if "exception" in masked:
        masked["exception"] = redact_foreign(masked["exception"])
    if "logger" in masked:  # a line of a library
        masked["event"] = redact_foreign(masked["event"])
    return masked


def _text(_logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]) -> str:
    """Return one line for people: time, level, sentence, then the details."""
    time, level = event.pop("timestamp")[11:19], event.pop("level")
    sentence, trace = str(event.pop("event")), str(event.pop("exception", ""))
    rest = "  ".join(f"{key}={_plain(value)}" for key, value in event.items())
    return f"{time} {level:7} {sentence}{f'  [{rest}]' if rest else ''}{trace}"


def _plain(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, list | tuple) else value


class _Forward(logging.Handler):
    """Writes what libraries log through `logging` in the form of the agent's log."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            min(record.levelno // 10 * 10, 50),  # structlog knows no other levels
            record.getMessage(),
            logger=record.name,
            exc_info=record.exc_info,
        )
