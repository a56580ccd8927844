"""`run`: the daemon."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import structlog

from agent._version import __version__
from agent.cli import options
from agent.daemon import Daemon
from agent.observe import logs, stderr
from agent.parts import assemble_for_run

if TYPE_CHECKING:
    from agent.doctor.results import DoctorResult
    from agent.domain.view import View
    from agent.settings import Loaded


@options.command("run", with_all_settings=True, is_warning=False)
def command(loaded: Loaded) -> None:
    """Keep every process at the newest snapshot, until SIGTERM.

    Reads the source again and again. SIGHUP makes it read at once. Once the volume holds a
    snapshot, the command does not end by itself, and starts whatever is wrong: it goes on
    with that snapshot, says what is wrong, and tries again.
    """
    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    log = structlog.get_logger()
    for warning in loaded.warnings:
        log.warning(warning)
    parts = assemble_for_run(loaded)._replace(findings=partial(_findings, loaded))
    daemon = Daemon(parts, __version__)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.poll())
    if not daemon.run():
        stderr.leave()
        os._exit(0)  # no pass may keep the process


def _findings(loaded: Loaded, view: View) -> DoctorResult:
    """Examine what the agent knows now. Only what is not well is returned."""
    # Most agents are never asked: what this imports is paid only then.
    from agent.doctor.examine import examine_view  # noqa: PLC0415

    return examine_view(loaded, view)
