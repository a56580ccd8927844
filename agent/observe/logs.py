"""The log: one JSON object per line, without secrets."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING

import structlog

from agent.domain.redact import redact

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from structlog.typing import WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: str, form: str) -> None:
    """Set up logging to standard error, once per process. `form` is `json` or `text`."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted,
            structlog.processors.JSONRenderer() if form == "json" else _text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(_Stderr()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    # It warns when a pass takes longer than an interval. The agent logs that itself.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.basicConfig(handlers=[_Forward()], level=logging.WARNING, force=True)


class _Stderr:
    """Standard error. A line that cannot be written, as to a full disk, is dropped."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, AttributeError):  # or it is closed: None
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            sys.stderr.flush()


def _redacted(
    _logger: WrappedLogger, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    first = ("timestamp", "level", "event")
    ordered = {key: event[key] for key in first if key in event} | dict(event)
    masked: dict[str, Any] = redact(ordered)
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
