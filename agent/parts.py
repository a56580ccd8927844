"""Makes the parts of the agent from its settings. No other module does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from agent._version import __version__
from agent.confirm.receipts import Receipts
from agent.domain.dsn_check import Times
from agent.dsn_check.checker import Checker
from agent.dsn_check.gate import Gate
from agent.dsn_check.send import check_sender
from agent.notify.http import Receivers, notify_sender
from agent.notify.signal import Signals
from agent.protect import protect
from agent.publish.volume import Volume
from agent.source.choose import open_source

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.source import Source

USER_AGENT = f"resentry-agent/{__version__}"


class Parts(NamedTuple):
    """The parts in the order in which a pass uses them. A part that is off does nothing."""

    settings: Settings
    source: Source
    gate: Gate
    volume: Volume
    signals: Signals
    receivers: Receivers
    receipts: Receipts


def assemble(settings: Settings) -> Parts:
    """Make the parts, and lock the volume for this process.

    From then on, other processes cannot look into this one.
    """
    protect()
    # Wrong settings are found before the first directory is made.
    source = open_source(settings, USER_AGENT)
    volume = Volume(settings.dir, settings.receipts_dir, settings.group)
    volume.open()
    checker = Checker(
        Times(settings.dsn_check_seconds),
        check_sender(USER_AGENT),
        is_glitchtip=settings.dsn_check_backend == "glitchtip",
    )
    send = notify_sender(
        settings.notify_headers.headers, USER_AGENT, settings.notify_seconds
    )
    return Parts(
        settings,
        source,
        Gate(checker, settings.dsn_check),
        volume,
        Signals(is_on=settings.signal is not None),
        Receivers(settings.notify_urls, send, settings.notify_status),
        Receipts(settings.receipts_dir, tidy=True),
    )
