"""The agent's own settings. `docs/settings.md` is generated from them.

It is long because it says of each setting what it does. Here and in the other modules of
settings, annotations are values and not text (`from __future__ import annotations`): each
start of the agent reads them, and would compile each text.
"""

from typing import Annotated, Literal

from msgspec import Meta

from agent.domain.guard_rails import DEFAULT_PLACE, AllowedDsn, GuardRails
from agent.settings import parse
from agent.settings.kinds import (
    DSN_CHECK,
    HTTP,
    LOGS,
    NOTIFY,
    RAILS,
    TIMING,
    VOLUME,
    Seconds,
    SecretHeaders,
    says,
)
from agent.settings.own import OwnSettings
from resentry.contract import DEFAULT_DIR, RECEIPTS_DIR, signal_number
from resentry.values import PRODUCTION


class Settings(OwnSettings, frozen=True, kw_only=True):
    """How the agent runs. Read once, at the edge, by `load`."""

    dir: Annotated[
        str,
        says(
            VOLUME,
            "DIRECTORY",
            "The directory that agent and applications share.",
            read=parse.directory,
        ),
    ] = DEFAULT_DIR
    receipts: Annotated[
        str,
        says(
            VOLUME,
            "DIRECTORY",
            "Where applications write their receipts (default: `receipts` on the volume).",
            read=parse.path,
        ),
    ] = ""
    group: Annotated[
        str,
        says(
            VOLUME,
            "GROUP",
            "The group, by name or number, that may read the volume (default: the group "
            "of the directory).",
        ),
    ] = ""
    control: Annotated[
        str,
        says(
            VOLUME,
            "FILE",
            "The socket that commands use to reach the running agent. Only the agent's "
            "user may have access to its directory (default: `agent/control.sock` on the "
            "volume).",
            read=parse.path,
        ),
    ] = ""
    poll_seconds: Annotated[
        Seconds,
        says(
            TIMING,
            "SECONDS",
            "The time between two passes. Each time is shortened at random by up to 1/5.",
        ),
    ] = 60.0
    pass_seconds: Annotated[
        Seconds, says(TIMING, "SECONDS", "Time limit for one pass.")
    ] = 15.0
    confirm_seconds: Annotated[
        Seconds,
        says(
            TIMING,
            "SECONDS",
            "A process is overdue when it has not confirmed a snapshot after this time.",
        ),
    ] = 30.0
    start_jitter_seconds: Annotated[
        float,
        Meta(ge=0, le=60),
        says(
            TIMING,
            "SECONDS",
            "The first pass waits for a random time of up to this. Set it to 2 or more "
            "if hundreds of pods start together and Vault cannot answer all at once.",
        ),
    ] = 0.0
    startup_seconds: Annotated[
        Seconds,
        says(
            TIMING,
            "SECONDS",
            "After this time `/startupz` answers 200 even without a snapshot.",
        ),
    ] = 20.0
    environment: Annotated[
        str,
        says(
            RAILS,
            "NAME",
            "The environment of the applications. Its guard rails decide what may be "
            "published, whatever `SENTRY_ENVIRONMENT` a secret names. If this is not "
            "set, `ENVIRONMENT` is used. `prod` is `production`, in any case.",
            read=parse.environment,
        ),
    ] = PRODUCTION
    environment_place: Annotated[str, Meta()] = DEFAULT_PLACE
    """Where the environment is set, for log and errors. `load` knows it."""
    allowed_environments: Annotated[
        tuple[str, ...],
        says(
            RAILS,
            "NAME",
            "Other environments that a secret, or a role in it, may name in "
            "`SENTRY_ENVIRONMENT`; `*` for any. Such a secret must pass the guard rails "
            "of both environments.",
            read=parse.environments,
        ),
    ] = ()
    allowed_dsns: Annotated[
        tuple[AllowedDsn, ...],
        says(
            RAILS,
            "NAME=HOST[:PORT][/PROJECT]",
            "The DSNs that may be published, by environment. `*` stands for any host or "
            "project, and for all environments without an entry of their own. If there "
            "is a list, environments without an entry may publish no DSN.",
            read=parse.allowed_dsns,
        ),
    ] = ()
    rate_caps: Annotated[
        dict[str, float],
        says(
            RAILS,
            "NAME=RATE",
            "The highest rate of traces, profiles and profile sessions, by environment, "
            "in settings, roles and rules. `*` stands for all environments without an "
            "entry of their own. If there is a list, the cap of environments without an "
            "entry is 0.",
            read=parse.rates,
        ),
    ] = {}  # noqa: RUF012 - msgspec copies it
    boost_cap: Annotated[
        float, Meta(ge=0, le=1), says(RAILS, "RATE", "The highest rate of a boost.")
    ] = 1.0
    min_targets: Annotated[
        dict[str, int],
        says(
            RAILS,
            "ROLE=NUMBER",
            "How many workers per role must confirm before a rollout counts as confirmed. "
            "Main processes do not count.",
            read=parse.counts,
        ),
    ] = {}  # noqa: RUF012 - msgspec copies it
    dsn_check: Annotated[
        Literal["off", "warn", "enforce"],
        says(
            DSN_CHECK,
            "CHOICE",
            "Check a new DSN with its Sentry server before publishing it (uses no quota): "
            "`warn` asks once and then publishes (the first snapshot at once), `enforce` publishes after the server "
            "has accepted the DSN, `off` never asks.",
        ),
    ] = "warn"
    dsn_check_seconds: Annotated[
        Seconds,
        says(
            DSN_CHECK,
            "SECONDS",
            "Time limit for a verdict; when it is over, `enforce` refuses the DSN. A DSN "
            "is accepted after three 200s spread over at least 1/5 of this time, rejected "
            "after three 403s over at least 2/5.",
        ),
    ] = 300.0
    dsn_check_backend: Annotated[
        Literal["sentry", "glitchtip"],
        says(
            DSN_CHECK,
            "CHOICE",
            "The server behind the DSNs. GlitchTip blocks a project after one wrong key. "
            "With `glitchtip` a new DSN of a project in use is therefore not checked, and "
            "neither a rejected nor a published DSN is checked again.",
        ),
    ] = "sentry"
    http_listen: Annotated[
        parse.Address | None,
        says(
            HTTP,
            "HOST:PORT",
            "The listen address of health checks, `/metrics`, `/status` and the page; `off` for "
            "none.",
            read=parse.address,
        ),
    ] = parse.Address("127.0.0.1", 19464)
    probes_listen: Annotated[
        parse.Address | None,
        says(
            HTTP,
            "HOST:PORT",
            "A second listen address, for health checks, `/metrics` and `/fleet` alone.",
            read=parse.address,
        ),
    ] = None
    signal: Annotated[
        int | None,
        says(
            NOTIFY,
            "SIGNAL",
            "The real-time signal that applications register for, as `SIGRTMIN+6`; `off` "
            "for none.",
            read=parse.signal,
            default="SIGRTMIN+6",
        ),
    ] = signal_number("")
    notify_urls: Annotated[
        tuple[str, ...],
        says(
            NOTIFY,
            "URL",
            "Where to POST that a new snapshot is published. The POST is repeated until "
            "it succeeds.",
            read=parse.urls,
        ),
    ] = ()
    notify_headers: Annotated[
        SecretHeaders,
        says(
            NOTIFY,
            "TEXT",
            "Headers of that POST, one `Name: value` a line.",
            read=SecretHeaders,
        ),
    ] = SecretHeaders("")
    notify_status: Annotated[
        str,
        says(
            NOTIFY,
            "STATUS",
            "The status code that means success; `2xx` for any from 200 to 299.",
            read=parse.status,
        ),
    ] = "2xx"
    notify_seconds: Annotated[
        Seconds, says(NOTIFY, "SECONDS", "Time limit for the answer to one POST.")
    ] = 5.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        says(LOGS, "CHOICE", "The lowest level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["json", "text"],
        says(LOGS, "CHOICE", "`json` for machines, `text` for people."),
    ] = "json"

    @property
    def guard_rails(self) -> GuardRails:
        """What may be published."""
        return GuardRails(
            self.environment,
            self.environment_place,
            self.allowed_environments,
            self.allowed_dsns,
            self.rate_caps,
            self.boost_cap,
        )

    @property
    def control_path(self) -> str:
        """The control socket."""
        return self.control or f"{self.dir}/agent/control.sock"

    @property
    def receipts_dir(self) -> str:
        """The receipts' directory."""
        return self.receipts or f"{self.dir}/{RECEIPTS_DIR}"
