"""Starts what the daemon needs only after its first pass.

This is HTTP, control socket, schedule, and the watch of the receipts.
"""

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
    """The functions of the daemon that threads of services may call."""

    view: Callable[[], View]
    document: Callable[[], Whole]
    ask: Callable[[dict[str, Any]], dict[str, Any]]
    poll: Callable[[], None]
    wake: Callable[[], None]


def start(
    settings: Settings, version: str, doors: Doors
) -> tuple[Metrics, Schedule, bool]:
    """Start all services. Return metrics, schedule, and whether receipts are watched.

    Raises `SettingsError` if an address or the control socket's path cannot be used.
    """
    metrics = Metrics(version)
    page = Page(doors.view, doors.document, metrics, settings)
    serve(page, settings.http_listen, settings.probes_listen)
    control.serve(settings.control_path, doors.ask)
    is_watching = watch_receipts(settings.receipts_dir, doors.wake)
    if not is_watching:
        log.warning(
            "receipts are read once a second: no inotify instance is left on this node",
            hint="raise fs.inotify.max_user_instances",
        )
    return metrics, Schedule(settings.poll_seconds, doors.poll), is_watching
