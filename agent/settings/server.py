"""The settings by which `verify --stored` asks the server of the DSNs."""

from typing import Annotated

from agent.settings import parse
from agent.settings.duty import DutySettings
from agent.settings.kinds import VERIFY, SecretValue, says


class ServerSettings(DutySettings, frozen=True, kw_only=True):
    """The part of the settings that `verify` alone needs."""

    verify_api: Annotated[
        str,
        says(
            VERIFY,
            "URL",
            "The address of Sentry or Bugsink that `verify --stored` asks, as "
            "`https://sentry.io`. The token goes to this address alone.",
            read=parse.server,
        ),
    ] = ""
    verify_token_file: Annotated[
        str,
        says(
            VERIFY,
            "FILE",
            "The file with a token of that server. In Sentry the token needs `org:read` and "
            "`event:read`, in Bugsink `issues:read` and `events:read`.",
            read=parse.path,
        ),
    ] = ""
    verify_token: Annotated[
        SecretValue,
        says(VERIFY, "TEXT", "The token itself. If a file is set, too, the file wins."),
    ] = SecretValue("")
