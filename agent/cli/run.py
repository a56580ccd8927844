"""`run`: the daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import structlog

from agent._version import __version__
from agent.cli import USER_AGENT, settings_options
from agent.confirm.receipts import Receipts
from agent.daemon import Daemon
from agent.domain.probe import Times
from agent.notify.http import Receivers
from agent.notify.http import sender as notify_sender
from agent.notify.signal import Signals
from agent.observe import logs
from agent.pipeline import Pipeline
from agent.probe.gate import Gate
from agent.probe.prober import Prober
from agent.probe.send import sender as probe_sender
from agent.protect import protect
from agent.publish.volume import Volume
from agent.source.choose import open_source

if TYPE_CHECKING:
    from agent.settings import Loaded, Settings


@click.command("run")
@settings_options
def command(loaded: Loaded) -> None:
    """Keep every process at the newest snapshot, until SIGTERM.

    The source is polled; SIGHUP polls at once.
    """
    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    log = structlog.get_logger()
    for warning in loaded.warnings:
        log.warning(warning)
    volume = open_volume(settings)
    daemon = Daemon(settings, assemble(settings, volume), volume, __version__)
    daemon.run()


def open_volume(settings: Settings) -> Volume:
    """Return the volume, locked for this process."""
    volume = Volume(settings.dir, settings.receipts_dir, settings.group)
    volume.open()
    return volume


def assemble(settings: Settings, volume: Volume) -> Pipeline:
    """Put the five stages together, in a process that others cannot look into."""
    protect()
    return Pipeline(
        settings,
        open_source(settings, USER_AGENT),
        volume,
        None if settings.signal == "off" else Signals(),
        Receipts(settings.receipts_dir, tidy=True),
        receivers=_receivers(settings),
        gate=_gate(settings),
    )


def _receivers(settings: Settings) -> Receivers | None:
    if not settings.notify_urls:
        return None
    send = notify_sender(settings.sent_headers, USER_AGENT, settings.notify_seconds)
    return Receivers(settings.notify_urls, send, settings.notify_status)


def _gate(settings: Settings) -> Gate | None:
    if settings.probe == "off":
        return None
    prober = Prober(
        Times(settings.probe_seconds),
        probe_sender(USER_AGENT),
        is_glitchtip=settings.probe_backend == "glitchtip",
    )
    return Gate(prober, enforce=settings.probe == "enforce")
