"""Starts the daemon, with as little as possible before the first snapshot.

Every pod waits for this, and pays for what is imported. So the order is: settings, what a
pass needs, the pass. All else comes after it (`agent.services`).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from agent import lean
from agent._version import __version__
from agent.observe import stderr

if TYPE_CHECKING:
    from agent.doctor.results import DoctorResult
    from agent.domain.view import View
    from agent.settings import Loaded


def main() -> None:
    """Do what `resentry-agent run` does where no option is given."""
    stderr.open_standard_files()
    # As a container's first process it would get no SIGTERM without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for library in ("dataclasses", "msgspec", "logging", "calendar"):
        lean.load(library)
    from agent.settings import load_what_can_be  # noqa: PLC0415 - as `load` left it

    run(load_what_can_be({}))


def run(loaded: Loaded) -> None:
    """Run the daemon until SIGTERM."""
    # What is imported stays. Looking for garbage in it takes a tenth of the start.
    gc.disable()  # the services enable it
    lean.load("structlog")
    import structlog  # noqa: PLC0415

    from agent.daemon import Daemon  # noqa: PLC0415
    from agent.domain.value import replace  # noqa: PLC0415
    from agent.observe import logs  # noqa: PLC0415
    from agent.parts import assemble_for_run  # noqa: PLC0415

    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    log = structlog.get_logger()
    for warning in loaded.warnings:
        log.warning(warning)
    parts = replace(assemble_for_run(loaded), findings=partial(_findings, loaded))
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
