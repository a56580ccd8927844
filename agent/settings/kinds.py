"""The types and the descriptions that settings are made of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from msgspec import Meta
from msgspec.structs import fields

from agent.domain.value import Value
from agent.settings import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Struct

Seconds = Annotated[float, Meta(ge=0.01, le=86400)]
"""The lower bound keeps a schedule from planning its next time for now."""

VAULT = "Vault"
LOGIN = "Login to Vault"
TLS = "TLS to Vault"
MOUNTED = "Mounted source"
VOLUME = "Volume"
TIMING = "Timing"
RAILS = "Guard rails"
DSN_CHECK = "DSN check"
HTTP = "HTTP"
NOTIFY = "Notify"
VERIFY = "Verification"
ROTATION = "Rotation"
FLEET = "Fleet"
BRIDGE = "Bridge"
LOGS = "Logs"
GROUPS = (
    VAULT,
    LOGIN,
    TLS,
    MOUNTED,
    VOLUME,
    TIMING,
    RAILS,
    DSN_CHECK,
    HTTP,
    NOTIFY,
    VERIFY,
    ROTATION,
    FLEET,
    BRIDGE,
    LOGS,
)
"""The groups of settings, in the order of `--help` and docs/settings.md."""


def says(
    group: str,
    value: str,
    text: str,
    *,
    read: Callable[[Any], Any] | None = None,
    default: str | None = None,
) -> Meta:
    """Describe a setting, for `--help` and docs/settings.md.

    `value` names what is expected. `read` makes the setting from its text, and raises
    `ValueError`. `default` is shown where the default itself cannot be.
    """
    extra = {"group": group, "value": value, "read": read, "default": default}
    return Meta(description=text, extra=extra)


class Setting(Value, frozen=True):
    """One setting, as its field describes it."""

    name: str
    annotated: Any
    default: Any
    group: str
    value: str
    text: str
    read: Callable[[Any], Any] | None

    @property
    def type(self) -> Any:
        """Its type, without what describes it."""
        return get_args(self.annotated)[0]

    @property
    def form(self) -> str:
        """What its value must look like, in words."""
        if self.is_list:
            return "a list of texts"
        if self.type is bool:
            return "true or false"
        if self.type is not float:
            return "a text"
        (bounds,) = (
            meta for meta in get_args(self.annotated)[1:] if meta.le is not None
        )
        above = f"above {bounds.gt:g}" if bounds.ge is None else f"from {bounds.ge:g}"
        return f"a number {above} up to {bounds.le:g}"

    @property
    def is_list(self) -> bool:
        """Whether it takes several entries."""
        return get_origin(self.type) in (tuple, dict)

    @property
    def is_secret(self) -> bool:
        """Whether its value is never shown."""
        return isinstance(self.type, type) and issubclass(self.type, SecretValue)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values to choose from; empty if there is no such list."""
        return get_args(self.type) if self.value == "CHOICE" else ()


@cache
def settings_of(struct: type[Struct]) -> tuple[Setting, ...]:
    """Return the settings in the order of their groups."""
    described = [
        (field, meta.extra, meta.description)
        for field in fields(struct)
        for meta in field.type.__metadata__
        if meta.extra
    ]
    settings = []
    for group in GROUPS:
        for field, extra, text in described:
            if extra["group"] == group:
                default = field.default
                if field.default_factory is dict:
                    default = {}
                if extra["default"] is not None:
                    default = extra["default"]
                settings.append(
                    Setting(
                        field.name,
                        field.type,
                        default,
                        group,
                        extra["value"],
                        text or "",
                        extra["read"],
                    )
                )
    return tuple(settings)


class SecretValue:
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


class SecretHeaders(SecretValue):
    """HTTP headers that may hold a secret, one `Name: value` a line."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.headers = parse.headers(value)
