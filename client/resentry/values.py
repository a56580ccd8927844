"""The keys of a snapshot: their types, their defaults, and the rules for their values.

Pure functions. The agent calls `judge` before it publishes, and each process calls it
again, so that both agree on what a good value is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from resentry import formats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

PRODUCTION = "production"
VALUE_LIMIT = 1000
"""Characters of a text in a snapshot."""
_PORTS = {"https": 443, "http": 80}
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,254}}\Z){_LABEL}(?:\.{_LABEL})*\.?\Z")
_IPV6 = re.compile(r"(?=.{2,45}\Z)(?=(?:[^:]*:){2})[0-9a-f:]+(?::[0-9.]+)?\Z")
_NUMERIC = re.compile(r"(?:.*\.)?[0-9]+\.?\Z")
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?:{_BYTE}\.){{3}}{_BYTE}\Z")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
_LOOPBACK = re.compile(r"localhost\Z|127(\.[0-9]{1,3}){3}\Z|::1\Z")
_SAFE = re.compile(r"[A-Za-z0-9_.,:/@%+=-]*\Z")
_QUOTES = ("'", '"')
_NO_RELEASE = re.compile(r"[\n\r\t/\\]")
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def _text(value: object) -> str:
    if isinstance(value, int | float):
        # JSON and TOML have changed it already: 1.10 has become 1.1.
        raise ValueError("must be text: write it in quotes")
    if not isinstance(value, str):
        raise ValueError("must be text")
    if value != value.strip():
        raise ValueError("begins or ends with a space or a line break: remove it")
    if value[:1] in _QUOTES or value[-1:] in _QUOTES:
        raise ValueError("begins or ends with a quotation mark: remove it")
    if not _SAFE.match(value):
        raise ValueError("has a character that would need quoting in a shell")
    if len(value) > VALUE_LIMIT:
        raise ValueError(f"is longer than {VALUE_LIMIT} characters")
    return value


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
    # None leaves the application's own option in charge.
    "SENTRY_PROFILE_SESSION_SAMPLE_RATE": Key(formats.rate),
    "SENTRY_ENABLE_LOGS": Key(_boolean),
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

STRUCTURED = (
    "RESENTRY_ROLES",
    "RESENTRY_RULES",
    "RESENTRY_BOOSTS",
    "RESENTRY_CEILINGS",
    "RESENTRY_ERRORS",
    "RESENTRY_BUDGETS",
)
"""The keys of a source that hold JSON instead of one value."""


class Dsn(NamedTuple):
    """A DSN in its parts. `str` shows host, project and the key's last four characters."""

    scheme: str
    hostname: str
    port: int | None
    project: str
    key: str

    @property
    def default_port(self) -> int:
        """The port that is meant where none is named."""
        return _PORTS[self.scheme]

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        last = f"…{self.key[-4:]}" if len(self.key) > 8 else "…"
        return f"{self.hostname}{port}/{self.project} (key {last})"


def split_dsn(text: str) -> Dsn:
    """Return the parts of a DSN, or raise `ValueError` without quoting it."""
    try:
        parts = urlsplit(text)
        port = parts.port
        hostname = parts.hostname or ""
    except ValueError:
        raise ValueError("is not a DSN") from None
    project = parts.path.rpartition("/")[2]
    keys = [parts.username or "", parts.password or parts.username or ""]
    if parts.scheme not in _PORTS or not hostname or not all(map(_KEY.match, keys)):
        raise ValueError("is not a DSN (https://KEY@HOST/PROJECT)")
    try:
        formats.whole(project)
    except ValueError:
        raise ValueError("is not a DSN (https://KEY@HOST/PROJECT)") from None
    if not is_host(hostname) or port == 0:
        raise ValueError("is not a DSN: its host or port cannot exist")
    return Dsn(parts.scheme, hostname, port, project, keys[0])


def is_host(text: str) -> bool:
    """Whether a text in lower case can be the name or the address of a host."""
    if ":" in text:
        return bool(_IPV6.match(text))
    if _NUMERIC.match(text):  # such a text can be nothing but an address
        return bool(_IPV4.match(text))
    return bool(_HOST.match(text))


def show_dsn(text: str) -> str:
    """Return a DSN as host, project and the last four characters of its key.

    Of a short key no character is shown. The fingerprint of the DSN stands there instead.
    """
    from resentry.contract import fingerprint  # noqa: PLC0415 - a cycle

    try:
        shown = str(split_dsn(text)) if text else "none"
    except ValueError:
        return "not a DSN"
    return shown.replace("(key …)", f"(key …, fingerprint {fingerprint(text)})")


def misread(values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong with each single value, by key, as the reader of the key says.

    Keys that only a newer version knows are not judged.
    """
    problems: dict[str, str] = {}
    for name in values.keys() & KEYS.keys():
        try:
            KEYS[name].parse(values[name])
        except ValueError as error:
            problems[name] = str(error)
    return problems


def environment_name(text: object) -> str:
    """Return an environment in the one form in which environments are compared."""
    name = str(text).strip().casefold()
    return PRODUCTION if name == "prod" else name


def judge(
    values: Mapping[str, Any], environments: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """Return what is wrong with the typed, effective values, by key.

    Each of the environments counts: a name, and the place where it is set. An absent key
    is not judged, because a source may hold only rates.
    """
    places = [at for name, at in environments if environment_name(name) == PRODUCTION]
    if not places:
        return {}
    problems: dict[str, str] = {}
    production = f"in production ({places[0]})"
    dsn = values.get("SENTRY_DSN")
    if dsn == "":
        problems["SENTRY_DSN"] = f"is required {production}"
    elif dsn is not None:
        parts = split_dsn(dsn)
        if parts.scheme != "https" and not _LOOPBACK.match(parts.hostname):
            problems["SENTRY_DSN"] = f"must be https {production}"
    if values.get("SENTRY_SEND_PII"):
        problems["SENTRY_SEND_PII"] = f"must be false {production}"
    return problems
