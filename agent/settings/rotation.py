"""The settings by which `rotate` finds the server of the keys, its journal and the fleet."""

from typing import Annotated

from msgspec import Meta

from agent.settings import parse
from agent.settings.kinds import FLEET, ROTATION, SecretValue, says
from agent.settings.source import SourceSettings


class RotationSettings(SourceSettings, frozen=True, kw_only=True):
    """The part of the settings that `rotate` and the commands with `--fleet` need."""

    rotation_path: Annotated[
        str,
        says(
            ROTATION,
            "PATH",
            "Where a rotation keeps its journal and lock, as "
            "`secret/data/rotations/lms`: a secret of its own, of KV version 2.",
        ),
    ] = ""
    sentry_api: Annotated[
        str,
        says(
            ROTATION,
            "URL",
            "The address of the Sentry or GlitchTip whose API `rotate`, `delete-key` and "
            "`alerts` ask, as `https://sentry.io`. The token goes to this address alone. "
            "Unset: in a rotation, a person makes the key, and gives its DSN with "
            "`--new-dsn`.",
            read=parse.server,
        ),
    ] = ""
    sentry_organization: Annotated[
        str, says(ROTATION, "NAME", "The organization, as in Sentry's URLs.")
    ] = ""
    sentry_project: Annotated[
        str, says(ROTATION, "NAME", "The project, as in Sentry's URLs.")
    ] = ""
    sentry_token_file: Annotated[
        str,
        says(
            ROTATION,
            "FILE",
            "The file with a token of that API. docs/sentry.md lists the scope that each "
            "command needs.",
            read=parse.path,
        ),
    ] = ""
    sentry_token: Annotated[
        SecretValue,
        says(
            ROTATION, "TEXT", "The token itself. If a file is set, too, the file wins."
        ),
    ] = SecretValue("")
    fleet: Annotated[
        tuple[str, ...],
        says(
            FLEET,
            "ADDRESS",
            "The pods: `HOST:PORT` of a headless Service, whose DNS name has one address "
            "for each pod; one URL for each pod, as `http://10.0.0.7:19465`; or, in the "
            "image `resentry-agent-tools`, `k8s://NAMESPACE:PORT?LABEL=VALUE` for pods by "
            "their labels. The port is that of RESENTRY_PROBES_LISTEN.",
        ),
    ] = ()
    fleet_expect: Annotated[
        float,
        Meta(ge=0, le=100_000),
        says(
            FLEET,
            "NUMBER",
            "So many pods must answer at least. Less count as pods with the old DSN.",
        ),
    ] = 0
