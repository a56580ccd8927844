"""The agent's own settings: flags over environment over a TOML file.

The only module that reads the environment.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import msgspec

from agent.domain.nearest import did_you_mean
from agent.domain.value import Value
from agent.errors import SettingsError
from agent.redact import is_path, is_plain_name, kind_of_secret
from agent.settings.convert import convert
from agent.settings.kinds import settings_of
from agent.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "RESENTRY_"
CONFIG = "RESENTRY_CONFIG"
FILE_LIMIT_BYTES = 1024 * 1024
_OF_SERVICE = re.compile(
    r"(RESENTRY\w*?)_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)"
    r"|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)
FILE_HINT = "--config, or else RESENTRY_CONFIG, must name a TOML file"
OTHER_VARIABLES = frozenset({CONFIG, "RESENTRY_VERIFY", "RESENTRY_WAIT_SECONDS"})
"""Known, but no settings of the agent: a pod may set the library's for all."""


class Loaded(Value, frozen=True):
    """The settings, and what to warn of."""

    settings: Settings
    warnings: tuple[str, ...]
    problem: SettingsError | None = None
    """What is wrong. `settings` then has defaults in place of what cannot be used."""


def load(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Loaded:
    """Read the settings, or raise `SettingsError` with all that is wrong.

    `flags` holds what the command line gave, by setting; `config` names the file.
    """
    loaded = load_what_can_be(flags, environ)
    if loaded.problem is not None:
        raise loaded.problem
    return loaded


def load_what_can_be(
    flags: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Loaded:
    """Read the settings like `load`. What is wrong is returned as the `problem`."""
    environ = os.environ if environ is None else environ  # noqa: TID251 - the reader
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    config = given.pop("config", None) or environ.get(CONFIG, "")
    known = {setting.name: setting for setting in settings_of(Settings)}
    values: dict[str, tuple[str, Any]] = {}
    problems: list[str] = []
    hint = "resentry-agent run --help shows what each setting takes"

    file: dict[str, Any] = {}
    try:
        file = _read_config(config)
    except SettingsError as error:
        problems.append(error.what)
        hint = error.hint
    for name, value in file.items():
        if name in known:
            values[name] = (f"{name} in {config}", value)
        else:
            shown = name if is_plain_name(name) else "with an odd name"
            meant = did_you_mean(name, known)
            problems.append(f"{config}: unknown key {shown}{meant}")
    variables, unknown = _read_environ(environ, known)
    if environ.get("ENVIRONMENT"):
        values.setdefault("environment", ("ENVIRONMENT", environ["ENVIRONMENT"]))
    values |= variables
    values |= {name: (flag(name), value) for name, value in given.items()}

    typed: dict[str, Any] = {}
    for name, (where, value) in values.items():
        try:
            typed[name] = convert(value, known[name])
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if "environment" in values:
        typed["environment_place"] = values["environment"][0]
    settings = Settings(**typed)
    problem = SettingsError("; ".join(problems), hint) if problems else None
    warnings = (f"unknown variables: {', '.join(unknown)}",) if unknown else ()
    return Loaded(settings, (*warnings, *settings.guard_rails.gaps()), problem)


def _read_config(path: str) -> dict[str, Any]:
    if kind := kind_of_secret(path):
        raise SettingsError(f"RESENTRY_CONFIG or --config holds {kind}", FILE_HINT)
    return _read_toml(path) if path else {}


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
        elif variable not in OTHER_VARIABLES and not _is_of_service(variable, environ):
            shown = variable if is_plain_name(variable) else "one with an odd name"
            unknown.append(shown + did_you_mean(name.upper(), names, PREFIX))
    return values, unknown


def _is_of_service(variable: str, environ: Mapping[str, str]) -> bool:
    """Whether Kubernetes set the variable, for a Service whose name begins with `resentry`.

    Each such Service adds seven variables or more to each container of its namespace.
    """
    match = _OF_SERVICE.fullmatch(variable)
    return match is not None and f"{match[1]}_SERVICE_HOST" in environ


def _read_toml(path: str) -> dict[str, Any]:
    shown = path if is_path(path) else "the file that --config or RESENTRY_CONFIG names"
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_LIMIT_BYTES + 1)
        if len(text) > FILE_LIMIT_BYTES:
            raise SettingsError(f"{shown} is larger than 1 MiB", FILE_HINT)
        document = msgspec.toml.decode(text)
    except OSError as error:
        what = f"cannot read {shown}: {error.strerror}"
        raise SettingsError(what, FILE_HINT) from None
    except RecursionError:
        raise SettingsError(f"{shown} is nested too deeply", FILE_HINT) from None
    except ValueError as error:  # also a number of more than 4,300 digits
        raise SettingsError(f"{shown} is not TOML: {error}", FILE_HINT) from None
    return dict(document)
