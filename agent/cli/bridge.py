"""`bridge`: receives Sentry's webhooks, and posts alerts to Alertmanagers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from agent.cli import options
from agent.errors import SettingsError
from agent.observe import logs
from agent.protect import protect, return_memory

if TYPE_CHECKING:
    from agent.settings import Loaded


@options.command("bridge", is_warning=False)
def command(loaded: Loaded) -> None:
    """Make Sentry's webhooks alerts of Alertmanager.

    The command receives webhooks until SIGTERM. A webhook is acknowledged when it is on the disk. An open alert is posted again and
    again, until Sentry says that its issue is over. One process for each store; it needs
    the package resentry-agent[bridge], and neither Vault nor a volume of the agent.
    """
    try:
        from agent.bridge.service import Bridge  # noqa: PLC0415 - not in the sidecar
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"the bridge cannot start: the package {error.name} is not installed",
            "install resentry-agent[bridge]; the sidecar's image does not have it",
        ) from None
    protect()
    return_memory()
    settings = loaded.settings
    logs.configure(settings.log_level, settings.log_format)
    for warning in loaded.warnings:
        structlog.get_logger().warning(warning)
    Bridge(settings).run()
