"""The agent's own settings: flags over environment over a TOML file.

The only module that reads the environment. `docs/settings.md` is generated from the
`Settings` below. It is long because it says of each setting what it does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from agent.domain.policy import Policy, parse_allowed, parse_counts, parse_rates
from agent.domain.receiver import parse_headers, parse_status, parse_urls
from agent.errors import SettingsError
from resentry.contract import DEFAULT_DIR, RECEIPTS_DIR, signal_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "RESENTRY_"
CONFIG = "RESENTRY_CONFIG"
OTHER_VARIABLES = frozenset({CONFIG, "RESENTRY_WAIT_SECONDS"})
"""Known, but no settings of the agent: a pod may set the library's for all."""

Seconds = Annotated[float, Meta(gt=0, le=86400)]


def says(text: str) -> Meta:
    """Describe a setting, for `--help` and docs/settings.md."""
    return Meta(description=text)


class Secret:
    """A value that is shown as nothing but its presence."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "(set)" if self._value else "(none)"


class Settings(Struct, frozen=True, kw_only=True):
    """How the agent runs. Read once, at the edge, by `load`."""

    vault_addr: Annotated[str, says("Vault's address, as in `https://vault:8200`.")] = (
        ""
    )
    vault_paths: Annotated[
        tuple[str, ...],
        says(
            "The secrets to read, separated by commas: `secret/data/lms` holds all keys, "
            "`secret/data/lms/SENTRY_DSN` holds that one. Of two that hold the same key the "
            "later counts."
        ),
    ] = ()
    vault_token_file: Annotated[
        str,
        says("A file that holds the Vault token; read anew at every pass."),
    ] = ""
    vault_token: Annotated[
        Secret,
        says("The Vault token itself; a file is better, it can change."),
    ] = Secret("")
    vault_namespace: Annotated[str, says("Vault's namespace.")] = ""
    vault_ca: Annotated[
        str,
        says("A file with the certificates that Vault's is checked against."),
    ] = ""
    vault_kv_version: Annotated[
        Literal["auto", "1", "2"],
        says("The KV engine's version; `auto` asks Vault once per mount."),
    ] = "auto"
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
    probe: Annotated[
        Literal["off", "warn", "enforce"],
        says(
            "Whether a new DSN's server is asked before it is published, which counts "
            "nothing there: `warn` asks once and then publishes, `enforce` publishes "
            "once it is accepted."
        ),
    ] = "warn"
    probe_seconds: Annotated[
        Seconds,
        says(
            "How long a verdict may take; `enforce` then refuses. Accepted is a DSN after "
            "three answers over a fifth of it, rejected over two fifths."
        ),
    ] = 300.0
    probe_backend: Annotated[
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
    http: Annotated[
        str,
        says("The address of probes, metrics and status; `off` for none."),
    ] = "127.0.0.1:19464"
    probes: Annotated[
        str,
        says("A second address that serves the probes and metrics alone."),
    ] = ""
    startup_seconds: Annotated[
        Seconds,
        says("`/startupz` turns 200 after this time even without a snapshot."),
    ] = 20.0
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        says("The least level that is logged."),
    ] = "info"
    log_format: Annotated[
        Literal["json", "text"],
        says("`json` for machines, `text` for people."),
    ] = "json"

    @property
    def policy(self) -> Policy:
        """The guard rails; `load` has made sure that they can be read."""
        return Policy(
            self.environment,
            parse_allowed(self.allowed_dsns),
            parse_rates(self.rate_caps),
            self.boost_cap,
        )

    @property
    def minimum(self) -> dict[str, int]:
        """How many workers of each role must confirm."""
        return parse_counts(self.min_targets)

    @property
    def sent_headers(self) -> dict[str, str]:
        """What an operator adds to each POST; it may be secret."""
        return parse_headers(self.notify_headers.reveal())

    @property
    def control_path(self) -> str:
        """The control socket."""
        return self.control or f"{self.dir}/agent/control.sock"

    @property
    def receipts_dir(self) -> str:
        """The receipts' directory."""
        return self.receipts or f"{self.dir}/{RECEIPTS_DIR}"


class Loaded(NamedTuple):
    """The settings, and what to warn of."""

    settings: Settings
    warnings: tuple[str, ...]


def load(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings, or raise `SettingsError` with all that is wrong.

    `flags` holds what the command line gave, by setting; `config` names the file.
    """
    environ = os.environ if environ is None else environ  # noqa: TID251 - the reader
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    config = given.pop("config", None) or environ.get(CONFIG)
    known = {field.name: field for field in msgspec.structs.fields(Settings)}
    values: dict[str, tuple[str, Any]] = {}
    problems: list[str] = []

    for name, value in (_read_file(config) if config else {}).items():
        if name in known:
            values[name] = (f"{name} in {config}", value)
        else:
            problems.append(f"{config}: unknown key {name}{nearest(name, known)}")
    found, unknown = _read_environ(environ, known)
    if environ.get("ENVIRONMENT"):
        values.setdefault("environment", ("ENVIRONMENT", environ["ENVIRONMENT"]))
    values |= found
    values |= {name: (flag(name), value) for name, value in given.items()}

    typed: dict[str, Any] = {}
    for name, (where, value) in values.items():
        try:
            typed[name] = _convert(value, known[name])
        except (msgspec.ValidationError, ValueError) as error:
            problems.append(f"{where}: {error}")
    if problems:
        raise SettingsError(
            "; ".join(problems), "docs/settings.md lists every setting and its type"
        )
    warnings = (f"unknown variables: {', '.join(unknown)}",) if unknown else ()
    return Loaded(Settings(**typed), warnings)


def flag(name: str) -> str:
    """The setting as a flag."""
    return "--" + name.replace("_", "-")


def nearest(name: str, known: Mapping[str, Any], prefix: str = "") -> str:
    """Suggest the known name that was probably meant; empty where none is near."""
    import difflib  # noqa: PLC0415 - only a mistake needs it

    found = difflib.get_close_matches(name, known, n=1)
    if not found:
        return ""
    meant = prefix + (found[0].upper() if prefix else found[0])
    return f" (did you mean {meant}?)"


def _read_environ(
    environ: Mapping[str, str], known: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return the values by setting, and the variables that are no setting."""
    values: dict[str, tuple[str, Any]] = {}
    unknown: list[str] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            values[name] = (variable, environ[variable])
        elif variable not in OTHER_VARIABLES:
            unknown.append(variable + nearest(name, known, PREFIX))
    return values, unknown


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            document = msgspec.toml.decode(file.read())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    return dict(document)


def _convert(value: Any, field: msgspec.structs.FieldInfo) -> Any:
    if isinstance(value, str):
        value = value.strip()
        if isinstance(field.default, tuple):
            value = value.replace(",", " ").split()
    typed = msgspec.convert(value, field.type, strict=False, dec_hook=_secret)
    if field.name in _READERS:
        _READERS[field.name](typed)  # raises ValueError
    return typed


_READERS: dict[str, Callable[[Any], object]] = {
    "signal": signal_number,
    "notify_urls": parse_urls,
    "notify_headers": lambda secret: parse_headers(secret.reveal()),
    "notify_status": parse_status,
    "allowed_dsns": parse_allowed,
    "rate_caps": parse_rates,
    "min_targets": parse_counts,
}


def _secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")
