"""What the daemon needs only after its first pass: HTTP, control socket, schedule, watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from agent import control
from agent.confirm.watch import watch_receipts
from agent.observe.http import Page, serve
from agent.observe.metrics import Metrics
from agent.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.domain.view import View
    from agent.observe.document import Whole
    from agent.settings import Settings

log = structlog.get_logger()


class Doors(NamedTuple):
    """What threads of services may call of the daemon."""

    view: Callable[[], View]
    document: Callable[[], Whole]
    ask: Callable[[dict[str, Any]], dict[str, Any]]
    poll: Callable[[], None]
    wake: Callable[[], None]


def start(
    settings: Settings, version: str, doors: Doors
) -> tuple[Metrics, Schedule, bool]:
    """Start them all; return metrics, schedule, and whether receipts are watched.

    Raises `SettingsError` for an address or a path that cannot be used.
    """
    metrics = Metrics(version)
    page = Page(doors.view, doors.document, metrics, settings)
    serve(page, settings.http_listen, settings.probes_listen)
    control.serve(settings.control_path, doors.ask)
    is_watching = watch_receipts(settings.receipts_dir, doors.wake)
    if not is_watching:
        log.warning("no inotify instance left; receipts are compared each second")
    return metrics, Schedule(settings.poll_seconds, doors.poll), is_watching
