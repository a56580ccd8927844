"""The keys of a snapshot: their types, their defaults, and the rules for their values.

Pure functions. Each process calls `resolve` to learn what to run. The agent calls the same
`judge` before it publishes, so that both agree on what a good value is.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from resentry import formats

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from resentry.contract import Snapshot

PRODUCTION = frozenset({"production", "prod"})
_LOOPBACK = re.compile(r"localhost\Z|127(\.[0-9]{1,3}){3}\Z|::1\Z")
_SAFE = re.compile(r"[A-Za-z0-9_.,:/@%+=-]*\Z")
_NO_RELEASE = re.compile(r"[\n\r\t/\\]")
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text")
    text = str(value)
    if not _SAFE.match(text):
        raise ValueError("has a character that would need quoting in a shell")
    return text


def _environment(value: object) -> str:
    text = _text(value)
    if not text or "/" in text or len(text) > 64 or text.lower() == "none":
        raise ValueError("must be 1 to 64 characters without '/', and not 'None'")
    return text


def _release(value: object) -> str:
    text = _text(value)
    if len(text) > 200 or _NO_RELEASE.search(text) or text in {".", "..", " "}:
        raise ValueError("must be at most 200 characters without '/'")
    return text


def _dsn(value: object) -> str:
    text = _text(value)
    if text:
        split_dsn(text)
    if "?" in text or "#" in text:
        raise ValueError("is not a DSN (https://KEY@HOST/PROJECT)")
    return text


def _own_dsn(value: object) -> str:
    """Read a DSN as the SDK does: spaces around it, a query and a fragment are allowed."""
    text = str(value).strip()
    if text:
        split_dsn(text)
    return text


def _boolean(value: object) -> bool:
    try:
        return _BOOLEANS[str(value).strip().lower()]
    except KeyError:
        raise ValueError("must be true or false (also 1/0, yes/no, on/off)") from None


class Key(NamedTuple):
    """One variable of the guide: how to read it, and its value when it is absent."""

    parse: Callable[[object], Any]
    default: Any = None
    fallback: str | None = None
    """The environment variable that is used before the default."""


KEYS: Mapping[str, Key] = {
    "SENTRY_DSN": Key(_dsn, ""),
    "SENTRY_ENVIRONMENT": Key(_environment, "production", "ENVIRONMENT"),
    "SENTRY_RELEASE": Key(_release, "", "VERSION"),
    "SENTRY_SAMPLE_RATE": Key(formats.rate, 1.0),
    "SENTRY_TRACES_SAMPLE_RATE": Key(formats.rate),  # None is off, as with the SDK
    "SENTRY_PROFILES_SAMPLE_RATE": Key(formats.rate),
    "SENTRY_SEND_PII": Key(_boolean, False),
    "SENTRY_ENABLE_FOR_CELERY": Key(_boolean, True),
}

OWN: Mapping[str, Callable[[object], Any]] = {
    "SENTRY_DSN": _own_dsn,
    "SENTRY_ENVIRONMENT": str,
    "SENTRY_RELEASE": str,
}
"""How these keys are read from the process's own environment: as the SDK does.

In a snapshot their values have no character that needs quoting in a shell.
"""

STRUCTURED = ("RESENTRY_ROLES", "RESENTRY_RULES", "RESENTRY_BOOSTS")
"""The keys of a source that hold JSON instead of one value."""


class Dsn(NamedTuple):
    """A DSN in its parts. `str` shows host, project and the key's last four characters."""

    scheme: str
    hostname: str
    port: int | None
    project: str
    key: str

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        last = f"…{self.key[-4:]}" if len(self.key) > 8 else "…"
        return f"{self.hostname}{port}/{self.project} (key {last})"


def split_dsn(text: str) -> Dsn:
    """Return the parts of a DSN, or raise `ValueError` without quoting it."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is not a DSN") from None
    project = parts.path.rpartition("/")[2]
    good = parts.scheme in {"https", "http"} and parts.hostname and parts.username
    is_number = project.isascii() and project.isdigit()
    if not good or not is_number:
        raise ValueError("is not a DSN (https://KEY@HOST/PROJECT)")
    return Dsn(parts.scheme, str(parts.hostname), port, project, str(parts.username))


def show_dsn(text: str) -> str:
    """Return a DSN as host, project and the last four characters of its key."""
    try:
        return str(split_dsn(text)) if text else "none"
    except ValueError:
        return "not a DSN"


def judge(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with the typed, effective values, by key.

    An absent key is not judged, because a source may hold only rates.
    """
    problems: dict[str, str] = {}
    environment = str(values.get("SENTRY_ENVIRONMENT", "production")).strip()
    if environment.casefold() not in PRODUCTION:
        return problems
    dsn = values.get("SENTRY_DSN")
    if dsn == "":
        problems["SENTRY_DSN"] = f"is required in {environment}"
    elif dsn is not None:
        parts = split_dsn(dsn)
        if parts.scheme != "https" and not _LOOPBACK.match(parts.hostname):
            problems["SENTRY_DSN"] = f"must be https in {environment}"
    if values.get("SENTRY_SEND_PII"):
        problems["SENTRY_SEND_PII"] = f"must be false in {environment}"
    return problems


class Effective(NamedTuple):
    """What one process should run: each value, its origin, and what is wrong with it."""

    values: Mapping[str, Any]
    origins: Mapping[str, str] = MappingProxyType({})
    problems: Mapping[str, str] = MappingProxyType({})

    def reason(self) -> str:
        """Return all problems in one line; empty if there are none."""
        return "; ".join(f"{key} {text}" for key, text in self.problems.items())

    def with_violations_reset(self) -> Effective:
        """Return a copy in which each bad value is its default: no DSN, PII off."""
        values = dict(self.values)
        values.update({key: KEYS[key].default for key in self.problems})
        return Effective(values, self.origins, self.problems)


def resolve(
    snapshot: Snapshot | None, role: str, environ: Mapping[str, str]
) -> Effective:
    """Take each value from the role, else the snapshot, else the environment variable."""
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, key in KEYS.items():
        raw, origin = _find(name, key, snapshot, role, environ)
        origins[name] = origin
        if origin == "default":
            values[name] = raw
            continue
        parse = OWN.get(name, key.parse) if origin == "environment" else key.parse
        try:
            values[name] = parse(raw)
        except ValueError as error:
            values[name] = key.default
            problems[name] = f"{error} (from {origins[name]})"
    return Effective(values, origins, {**judge(values), **problems})


def _find(
    name: str,
    key: Key,
    snapshot: Snapshot | None,
    role: str,
    environ: Mapping[str, str],
) -> tuple[Any, str]:
    if snapshot is not None:
        own = snapshot.roles.get(role, {})
        if name in own:
            return own[name], "role"
        if name in snapshot.settings:
            return snapshot.settings[name], "snapshot"
    for variable in (name, key.fallback):
        # In the guide an empty variable counts as absent. Only an empty DSN means "off".
        if (
            variable
            and variable in environ
            and (environ[variable] or variable == "SENTRY_DSN")
        ):
            return environ[variable], "environment"
    return key.default, "default"
