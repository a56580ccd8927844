"""The settings of `bridge`: where webhooks come from, and where alerts go."""

from typing import Annotated

from msgspec import Meta

from agent.settings import parse
from agent.settings.kinds import BRIDGE, Seconds, SecretHeaders, SecretValue, says
from agent.settings.rotation import RotationSettings


class BridgeSettings(RotationSettings, frozen=True, kw_only=True):
    """The part of the settings that `bridge` alone needs."""

    bridge_listen: Annotated[
        parse.Address | None,
        says(
            BRIDGE,
            "HOST:PORT",
            "The address where the bridge receives Sentry's webhooks, at the path "
            "`/sentry`. Nothing else is served there.",
            read=parse.address,
            default="127.0.0.1:19466",
        ),
    ] = parse.Address("127.0.0.1", 19466)
    bridge_secret_file: Annotated[
        str,
        says(
            BRIDGE,
            "FILE",
            "The file with the client secret of the internal integration in Sentry. Each "
            "line is a secret: of another integration, or the old one and the new one. A "
            "change is seen without a restart.",
            read=parse.path,
        ),
    ] = ""
    bridge_secret: Annotated[
        SecretValue,
        says(
            BRIDGE,
            "TEXT",
            "The client secret itself. If a file is set, too, the file wins.",
        ),
    ] = SecretValue("")
    bridge_store: Annotated[
        str,
        says(
            BRIDGE,
            "FILE",
            "The SQLite file with the open alerts. It must be on a volume that outlives "
            "the process, and that no other bridge uses.",
            read=parse.path,
        ),
    ] = "/var/lib/resentry/bridge.db"
    bridge_alertmanagers: Annotated[
        tuple[str, ...],
        says(
            BRIDGE,
            "URL",
            "The Alertmanagers, as `http://alertmanager:9093`. Each gets every alert. A name "
            "with several addresses, as that of a headless Service, means each of them.",
            read=parse.urls,
        ),
    ] = ()
    bridge_alertmanager_headers: Annotated[
        SecretHeaders,
        says(
            BRIDGE,
            "TEXT",
            "HTTP headers for the Alertmanagers, one `Name: value` a line, as an "
            "Authorization.",
            read=SecretHeaders,
        ),
    ] = SecretHeaders("")
    bridge_resend_seconds: Annotated[
        Seconds,
        says(
            BRIDGE,
            "SECONDS",
            "Open alerts are posted again after this time: an Alertmanager forgets them "
            "when it restarts.",
        ),
    ] = 60.0
    bridge_fill_seconds: Annotated[
        Seconds,
        says(
            BRIDGE,
            "SECONDS",
            "The API of `RESENTRY_SENTRY_API`, if it is set, is asked after this time: "
            "whether open alerts are over, and for new issues whose webhook did not come. "
            "Its token needs `event:read`.",
        ),
    ] = 300.0
    bridge_fill_query: Annotated[
        str,
        says(
            BRIDGE,
            "QUERY",
            "Which new issues of Sentry have an alert, also if no webhook comes: a search "
            "of the issues' page. Empty: none.",
        ),
    ] = "is:unresolved error.unhandled:true age:-24h"
    bridge_silent_hours: Annotated[
        float,
        Meta(ge=0.001, le=8760),
        says(
            BRIDGE,
            "HOURS",
            "An issue's alert is closed after this time without a webhook of its issue. "
            "Sentry sends the end of an issue only if the integration is subscribed to "
            "`issue`.",
        ),
    ] = 72.0
