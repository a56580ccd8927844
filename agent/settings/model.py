"""The agent's own settings. `docs/settings.md` is generated from them.

It is long because it says of each setting what it does.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from agent.domain.guard_rails import GuardRails
from agent.settings import parse
from agent.settings.kinds import Seconds, Secret, says
from agent.settings.source import SourceSettings
from resentry.contract import DEFAULT_DIR, RECEIPTS_DIR


class Settings(SourceSettings, frozen=True, kw_only=True):
    """How the agent runs. Read once, at the edge, by `load`."""

    environment: Annotated[
        str,
        says(
            "The environment that a candidate is judged by when it names none; "
            "else `ENVIRONMENT`."
        ),
    ] = "production"
    allowed_dsns: Annotated[
        tuple[str, ...],
        says(
            "The DSNs that may be published, as `ENVIRONMENT=HOST[/PROJECT]`, `*` for "
            "any; an environment that none names is free."
        ),
    ] = ()
    rate_caps: Annotated[
        tuple[str, ...],
        says(
            "The highest rate of traces and of profiles, as `ENVIRONMENT=RATE`, `*` for "
            "any environment."
        ),
    ] = ()
    boost_cap: Annotated[
        float, Meta(ge=0, le=1), says("The highest rate of a boost.")
    ] = 1.0
    min_targets: Annotated[
        tuple[str, ...],
        says(
            "How many workers must confirm before a rollout is, as `ROLE=NUMBER`; main "
            "processes do not count."
        ),
    ] = ()
    dir: Annotated[str, says("The volume that applications read.")] = DEFAULT_DIR
    receipts: Annotated[
        str,
        says("Where applications give their receipts; else `receipts` on the volume."),
    ] = ""
    group: Annotated[
        str,
        says("The group, by name or number, that may read the volume; else inherited."),
    ] = ""
    poll_seconds: Annotated[
        Seconds,
        says("The time between two passes; each is up to a fifth shorter."),
    ] = 60.0
    pass_seconds: Annotated[Seconds, says("The deadline of one pass.")] = 15.0
    confirm_seconds: Annotated[
        Seconds,
        says("After this time a target without its receipt is overdue."),
    ] = 30.0
    signal: Annotated[
        str,
        says(
            "The real-time signal that targets register for (`SIGRTMIN+6` if empty), or "
            "`off`."
        ),
    ] = ""
    notify_urls: Annotated[
        tuple[str, ...],
        says("Where to POST that a new snapshot is published, until it succeeds."),
    ] = ()
    notify_headers: Annotated[
        Secret,
        says("Headers of that POST, one `Name: value` a line."),
    ] = Secret("")
    notify_status: Annotated[
        str,
        says("The status that it must be answered with; `2xx` for any success."),
    ] = "2xx"
    notify_seconds: Annotated[
        Seconds, says("The time in which it must be answered.")
    ] = 5.0
    dsn_check: Annotated[
        Literal["off", "warn", "enforce"],
        says(
            "Check a new DSN with its Sentry server before publishing it (uses no "
            "quota): `warn` asks once and then publishes, `enforce` publishes after the "
            "server has accepted the DSN, `off` never asks."
        ),
    ] = "warn"
    dsn_check_seconds: Annotated[
        Seconds,
        says(
            "Time limit for a verdict; when it is over, `enforce` refuses the DSN. A DSN "
            "is accepted after three 200s spread over at least 1/5 of this time, rejected "
            "after three 403s over at least 2/5."
        ),
    ] = 300.0
    dsn_check_backend: Annotated[
        Literal["sentry", "glitchtip"],
        says(
            "`glitchtip` blocks a project after one wrong key: a DSN is then not asked "
            "for a project in use, nor asked again after a rejection."
        ),
    ] = "sentry"
    control: Annotated[
        str,
        says(
            "The socket through which commands steer the daemon, in a directory of the "
            "agent's alone; else `agent/control.sock` on the volume."
        ),
    ] = ""
    http_listen: Annotated[
        str,
        says("The address of probes, metrics and status; `off` for none."),
    ] = "127.0.0.1:19464"
    probes_listen: Annotated[
        str,
        says("A second address that serves the probes and metrics alone."),
    ] = ""
    start_jitter_seconds: Annotated[
        float,
        Meta(ge=0, le=60),
        says(
            "The first pass waits for up to this time, left to chance, so that agents "
            "that start together do not ask together."
        ),
    ] = 0.2
    startup_seconds: Annotated[
        Seconds,
        says("`/startupz` turns 200 after this time even without a snapshot."),
    ] = 20.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        says("The least level that is logged: `debug`, `info`, `warning` or `error`."),
    ] = "info"
    log_format: Annotated[
        Literal["json", "text"],
        says("`json` for machines, `text` for people."),
    ] = "json"

    @property
    def guard_rails(self) -> GuardRails:
        """The guard rails; `load` has made sure that they can be read."""
        return GuardRails(
            self.environment,
            parse.allowed_dsns(self.allowed_dsns),
            parse.rates(self.rate_caps),
            self.boost_cap,
        )

    @property
    def minimum(self) -> dict[str, int]:
        """How many workers of each role must confirm."""
        return parse.counts(self.min_targets)

    @property
    def sent_headers(self) -> dict[str, str]:
        """What an operator adds to each POST; it may be secret."""
        return parse.headers(self.notify_headers.reveal())

    @property
    def control_path(self) -> str:
        """The control socket."""
        return self.control or f"{self.dir}/agent/control.sock"

    @property
    def receipts_dir(self) -> str:
        """The receipts' directory."""
        return self.receipts or f"{self.dir}/{RECEIPTS_DIR}"
