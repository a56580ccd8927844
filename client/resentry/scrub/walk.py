"""Scrubs any value, within bounds of depth and size, and copies what it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from resentry.scrub.text import (
    cached_verdict,
    classify,
    is_sensitive,
    needs_no_filter,
    scrub_text,
)
from resentry.scrub.values import FILTERED, is_card

DEPTH_LIMIT = 20
"""Values that are nested deeper are filtered. The SDK keeps five levels of most parts."""
SIZE_LIMIT = 50_000
"""Values of one part of an event that are looked at. The rest is filtered."""

Own = Mapping[Any, Callable[[Any, str, Any], Any]]
"""Methods for keys whose values the SDK itself may have made."""

_NO_OWN: Own = MappingProxyType({})


def text_of(value: Any) -> str:
    """Return a key or a value as text. Raises what the value's `__repr__` raises."""
    if isinstance(value, str):
        return str.__str__(value)  # a subclass may have its own `__str__`
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    return repr(value)


def judged(key: Any) -> tuple[bool, Any]:
    """Return whether the value of a key is sensitive, and how the key may be shown."""
    hide = cached_verdict(key)
    return classify(text_of(key)) if hide is None else (hide, key)


class Walk:
    """Goes once through one part: counts what it has seen, copies what it changes."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = SIZE_LIMIT
        """How many more values may be looked at."""

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return the value scrubbed; the same object if nothing had to change."""
        kind = type(value)
        if kind is str:
            return scrub_text(value)
        if kind is dict or kind is list:
            self.left -= len(value)
            if depth >= DEPTH_LIMIT or self.left < 0:
                return FILTERED
            scrub: Callable[[Any, int], Any] = self._list
            if kind is dict:
                scrub = self._mapping
            return scrub(value, depth + 1)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            is_long = 10**12 <= value < 10**19
            return FILTERED if is_long and is_card(str(value)) else value
        return self._other(value, depth)

    def object(self, value: dict[Any, Any], own: Own) -> dict[Any, Any]:
        """Scrub an object in which the SDK fills the keys of `own`."""
        self.left -= len(value)
        if self.left < 0:
            return {}
        return self._mapping(value, 1, own)

    def _mapping(
        self, value: dict[Any, Any], depth: int, own: Own = _NO_OWN
    ) -> dict[Any, Any]:
        out = value
        for key, inner in value.items():
            name, hide = key, cached_verdict(key)
            if hide is None:
                hide, name = classify(text_of(key))
            if own and key in own:
                new = own[key](self, key, inner)
            elif hide:
                new = inner if needs_no_filter(name, inner) else FILTERED
            elif type(inner) is str:
                new = scrub_text(inner)
            else:
                new = self.value(inner, depth)
            if new is not inner or name is not key:
                if out is value:
                    out = dict(value)
                if name is not key:
                    del out[key]
                out[name] = new
        return out

    def _list(self, value: list[Any], depth: int) -> Any:
        if len(value) == 2 and type(value[0]) is str and is_sensitive(value[0]):
            return [scrub_text(value[0]), FILTERED]  # a header, cookie or tag as a pair
        out, hide = value, False
        for index, inner in enumerate(value):
            if type(inner) is str:
                new = FILTERED if hide else scrub_text(inner)
                # Of a command line: ["--password", "..."].
                hide = inner[:2] == "--" and "=" not in inner and is_sensitive(inner)
            else:
                new = self.value(inner, depth)
            if new is not inner:
                if out is value:
                    out = list(value)
                out[index] = new
        return out

    def _other(self, value: Any, depth: int) -> Any:
        """Return a value of another type as something that the SDK can send."""
        if isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return self.value(dict(value), depth)
        if isinstance(value, tuple | set | frozenset):
            return self.value(list(value), depth)
        return scrub_text(text_of(value))
