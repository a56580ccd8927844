"""The settings by which the agent reports on itself to Sentry."""

from typing import Annotated

from agent.settings import parse
from agent.settings.kinds import LOGS, says
from agent.settings.server import ServerSettings


class OwnSettings(ServerSettings, frozen=True, kw_only=True):
    """The part of the settings that is about the agent's own events. All is off by default."""

    report_errors: Annotated[
        bool,
        says(
            LOGS,
            "BOOLEAN",
            "Report the agent's own errors to Sentry, as a process with the role `agent`. "
            "They go to the project of the application, unless the role `agent` has a "
            "`SENTRY_DSN` of its own in `RESENTRY_ROLES`. It takes 8 MiB of memory.",
        ),
    ] = False
    cron_monitor: Annotated[
        str,
        says(
            LOGS,
            "SLUG",
            "Report each pass, at most one a minute, to this monitor of Sentry Crons. "
            "The first report makes the monitor. All agents with one slug report to one "
            "monitor, which then does not show which pod fails. It takes 8 MiB of memory.",
            read=parse.slug,
        ),
    ] = ""
