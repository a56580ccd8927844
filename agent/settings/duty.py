"""The settings of the bridge's second level of on-call, and of its canary."""

from typing import Annotated

from msgspec import Meta

from agent.settings import parse
from agent.settings.bridge import BridgeSettings
from agent.settings.kinds import BRIDGE, Seconds, SecretValue, says


class DutySettings(BridgeSettings, frozen=True, kw_only=True):
    """The part of the settings that says when somebody else is called."""

    bridge_escalate_seconds: Annotated[
        float,
        Meta(ge=0, le=86400),
        says(
            BRIDGE,
            "SECONDS",
            "A critical alert that is neither over nor silenced after this time is posted "
            'a second time, with the label `escalation="l2"`. This holds for each critical '
            "alert of these Alertmanagers, whoever posted it. 0: never.",
        ),
    ] = 900.0
    bridge_canary_dsn_file: Annotated[
        str,
        says(
            BRIDGE,
            "FILE",
            "The file with the DSN by which the bridge sends a canary to Sentry. The canary "
            "must come back as a webhook. Unset: no canary is sent.",
            read=parse.path,
        ),
    ] = ""
    bridge_canary_dsn: Annotated[
        SecretValue,
        says(BRIDGE, "TEXT", "The DSN itself. If a file is set, too, the file wins."),
    ] = SecretValue("")
    bridge_canary_seconds: Annotated[
        Seconds,
        says(BRIDGE, "SECONDS", "The time between two canaries. Each is one event."),
    ] = 3600.0
    bridge_canary_limit_seconds: Annotated[
        Seconds,
        says(
            BRIDGE,
            "SECONDS",
            "A canary that has not come back after this time is missing: the bridge opens "
            "a critical alert.",
        ),
    ] = 900.0
    bridge_url: Annotated[
        str,
        says(
            BRIDGE,
            "URL",
            "The webhook's address as it stands in Sentry, for `doctor` alone: "
            "`https://alerts.example.com/sentry`.",
            read=parse.server,
        ),
    ] = ""
    bridge_integration: Annotated[
        str,
        says(
            BRIDGE,
            "NAME",
            "The internal integration in Sentry, as in its URL, for `doctor` alone. "
            "`doctor` asks the API of RESENTRY_SENTRY_API whether it is installed; its "
            "token needs `org:read`.",
        ),
    ] = ""
