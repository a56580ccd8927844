"""The agent's own settings: flags over environment over a TOML file.

The only module that reads the environment.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args, get_origin

import msgspec

from agent.domain.nearest import did_you_mean
from agent.errors import SettingsError
from agent.settings import parse
from agent.settings.kinds import Secret
from agent.settings.model import Settings
from resentry.contract import signal_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "RESENTRY_"
CONFIG = "RESENTRY_CONFIG"
OTHER_VARIABLES = frozenset({CONFIG, "RESENTRY_WAIT_SECONDS"})
"""Known, but no settings of the agent: a pod may set the library's for all."""


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
            problems.append(f"{config}: unknown key {name}{did_you_mean(name, known)}")
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
            "; ".join(problems), "resentry-agent run --help says what each one takes"
        )
    warnings = (f"unknown variables: {', '.join(unknown)}",) if unknown else ()
    return Loaded(Settings(**typed), warnings)


def flag(name: str) -> str:
    """The setting as a flag."""
    return "--" + name.replace("_", "-")


def _read_environ(
    environ: Mapping[str, str], known: Mapping[str, Any]
) -> tuple[dict[str, tuple[str, Any]], list[str]]:
    """Return the values by setting, and the variables that are no setting."""
    values: dict[str, tuple[str, Any]] = {}
    unknown: list[str] = []
    names = [name.upper() for name in known]
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        name = variable.removeprefix(PREFIX).lower()
        if name in known:
            values[name] = (variable, environ[variable])
        elif variable not in OTHER_VARIABLES:
            unknown.append(variable + did_you_mean(name.upper(), names, PREFIX))
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
    kind = get_args(field.type)[0]  # below what says what it is for
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise ValueError(f"must be one of {', '.join(get_args(kind))}")
    typed = msgspec.convert(value, field.type, strict=False, dec_hook=_secret)
    if field.name in _READERS:
        _READERS[field.name](typed)  # raises ValueError
    return typed


_READERS: dict[str, Callable[[Any], object]] = {
    "signal": signal_number,
    "notify_urls": parse.urls,
    "notify_headers": lambda secret: parse.headers(secret.reveal()),
    "notify_status": parse.status,
    "allowed_dsns": parse.allowed_dsns,
    "rate_caps": parse.rates,
    "min_targets": parse.counts,
}


def _secret(kind: type, value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")
