"""`alerts notice maintenance`: tells Alertmanagers of a planned maintenance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from agent.cli import options
from agent.cli.durations import seconds_of
from agent.cli.noticing import answer_of, tell_all
from agent.errors import SettingsError

if TYPE_CHECKING:
    from agent.alerts.notices import Alertmanager
    from agent.cli.answer import Answer
    from agent.settings import Loaded

LONGEST_SECONDS = 86400
"""A maintenance that is forgotten hides no warning for longer than this."""


@options.command("alerts notice maintenance")
@click.option(
    "--in",
    "place",
    required=True,
    metavar="ENVIRONMENT",
    help="What is maintained, as SENTRY_ENVIRONMENT names it.",
)
@click.option(
    "--for", "duration", metavar="TIME", help="How long: 30m or 2h; at most 24h."
)
@click.option("--comment", default="", metavar="TEXT", help="What is done, for people.")
@click.option(
    "--silence",
    is_flag=True,
    help="Also make a silence: an Alertmanager keeps it when it restarts.",
)
@click.option("--end", is_flag=True, help="End the maintenance now.")
def command(
    loaded: Loaded,
    *,
    place: str,
    duration: str | None,
    comment: str,
    silence: bool,
    end: bool,
) -> Answer:
    """Tell the Alertmanagers of a planned maintenance.

    Posts an alert PlannedMaintenance of severity info. While it lasts, the warnings of its
    environment are hidden; a critical alert never is. Told again, it has the new end.
    """
    from agent.alerts.notices import maintained  # noqa: PLC0415 - heavy

    settings, now = loaded.settings, time.time()
    if end == (duration is not None):
        raise click.UsageError("give either --for, or --end")
    seconds = seconds_of("--for", duration) if duration else 0
    if seconds > LONGEST_SECONDS or (duration and not seconds):
        raise click.UsageError("--for must be from 1s to 24h")
    if not settings.bridge_alertmanagers:
        raise SettingsError(
            "there is no Alertmanager to tell", "set RESENTRY_BRIDGE_ALERTMANAGERS"
        )
    alert = maintained(place, comment, now + seconds)

    def tell(manager: Alertmanager) -> None:
        manager.tell(alert)
        if end:
            manager.unsilence(place)
        else:
            manager.silence(place, comment, now, now + seconds, is_new=silence)

    return answer_of(tell_all(settings, tell), now + seconds)
