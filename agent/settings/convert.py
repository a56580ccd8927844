"""Makes a setting from its text, or says what is wrong with the text.

No error quotes a text: whatever stands in the wrong setting may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from agent.domain.nearest import did_you_mean
from agent.redact import kind_of_secret
from agent.settings.kinds import SecretValue
from resentry.values import KEYS

if TYPE_CHECKING:
    from agent.settings.kinds import Setting

_NOT_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WITH_UNIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(ms|s|sec|m|min|h)\Z")
_UNIT_SECONDS = {"ms": 0.001, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
_WITH_COMMA = re.compile(r"([0-9]{1,6}),([0-9]{1,6})\Z")
_NAMES = ("NAME", "ID")
"""What these settings take is free: it can be a UUID as well."""


def convert(value: Any, setting: Setting) -> Any:
    """Return the typed value of a setting, or raise `ValueError`."""
    if isinstance(value, str):
        value = value.strip()
    if not setting.is_secret:
        value = _checked(value, setting)
    if setting.choices and value not in setting.choices:
        meant = did_you_mean(str(value), setting.choices)
        raise ValueError(f"must be one of {', '.join(setting.choices)}{meant}")
    if setting.type is bool and isinstance(value, str):
        return KEYS["SENTRY_SEND_PII"].parse(value)  # also yes, on, 1
    plain = tuple[str, ...] if setting.is_list else str
    kind = setting.annotated if setting.read is None else plain
    try:
        typed = msgspec.convert(value, kind, strict=False, dec_hook=_secret)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, ValueError):  # of a reader, as of headers
            raise ValueError(str(error.__cause__)) from None
        raise ValueError(f"must be {setting.form}{_hint(value, setting)}") from None
    except (OverflowError, RecursionError):  # TOML takes numbers of any size
        raise ValueError(f"must be {setting.form}") from None
    return typed if setting.read is None else setting.read(typed)


def _checked(value: Any, setting: Setting) -> Any:
    """Split a list, and refuse what looks like a secret before it is used for anything."""
    if isinstance(value, tuple):
        value = ",".join(value)
    if setting.is_list and isinstance(value, str):
        _refuse_secret(value, setting)  # a PEM would be split
        given, value = value.strip(), value.replace(",", " ").split()
        if given and not value:  # a list of guard rails would guard nothing
            raise ValueError("has no entry")
    for text in value if isinstance(value, list) else [value]:
        if isinstance(text, str):
            _refuse_secret(text, setting)
            if _NOT_TEXT.search(text):
                raise ValueError("must be text in UTF-8, without control characters")
    return value


def _refuse_secret(text: str, setting: Setting) -> None:
    if kind := kind_of_secret(text, may_be_a_name=setting.value in _NAMES):
        raise ValueError(
            f"holds {kind}, which does not belong there: it takes {setting.value}"
        )


def _hint(value: Any, setting: Setting) -> str:
    """Return what to write instead of a number with a unit or a comma."""
    if setting.type is not float or not isinstance(value, str):
        return ""
    if not value:
        return "; it is empty"
    if match := _WITH_UNIT.match(value):
        seconds = float(match[1]) * _UNIT_SECONDS[match[2]]
        return f", without a unit: write {seconds:g}"
    if match := _WITH_COMMA.match(value):
        return f", with a point: write {match[1]}.{match[2]}"
    return ""


def _secret(kind: type, value: Any) -> Any:
    if issubclass(kind, SecretValue) and isinstance(value, str):
        return kind(value)
    raise msgspec.ValidationError(f"Expected `str`, got `{type(value).__name__}`")
