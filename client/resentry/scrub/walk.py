"""The way through any value: bounded in depth and size, copying what it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from resentry.scrub.text import is_plain, is_sensitive, known, rule, scrub_text
from resentry.scrub.values import FILTERED, is_card

DEPTH_LIMIT = 20
"""What is nested deeper is filtered. The SDK keeps five levels of most parts."""
SIZE_LIMIT = 50_000
"""How many values of one part of an event are looked at; what follows is filtered."""

Own = Mapping[Any, Callable[[Any, str, Any], Any]]
"""How the values of some keys are scrubbed, where the SDK itself may have made them."""

_NO_OWN: Own = MappingProxyType({})


def text_of(value: Any) -> str:
    """Return a key or a value as text. Raises what its own `__repr__` raises."""
    if isinstance(value, str):
        return str.__str__(value)  # of a subclass, which may have its own
    if isinstance(value, bytes | bytearray):
        return value.decode(errors="replace")
    return repr(value)


def judged(key: Any) -> tuple[bool, Any]:
    """Say whether what stands under a key is sensitive, and how the key may be shown."""
    hide = known(key)
    return rule(text_of(key)) if hide is None else (hide, key)


class Walk:
    """One way through one part: counts what it has seen, copies what it changes."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = SIZE_LIMIT
        """How many more values are looked at."""

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return any value scrubbed; the same object if there was nothing to do."""
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
        """Return an object in which the SDK fills the keys of `own`."""
        self.left -= len(value)
        if self.left < 0:
            return {}
        return self._mapping(value, 1, own)

    def _mapping(
        self, value: dict[Any, Any], depth: int, own: Own = _NO_OWN
    ) -> dict[Any, Any]:
        out = value
        for key, inner in value.items():
            name, hide = key, known(key)
            if hide is None:
                hide, name = rule(text_of(key))
            if own and key in own:
                new = own[key](self, key, inner)
            elif hide:
                new = inner if is_plain(name, inner) else FILTERED
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
        for at, inner in enumerate(value):
            if type(inner) is str:
                new = FILTERED if hide else scrub_text(inner)
                # Of a command line: ["--password", "..."].
                hide = inner[:2] == "--" and "=" not in inner and is_sensitive(inner)
            else:
                new = self.value(inner, depth)
            if new is not inner:
                if out is value:
                    out = list(value)
                out[at] = new
        return out

    def _other(self, value: Any, depth: int) -> Any:
        """Return what the SDK could not send as something that it can."""
        if isinstance(value, int | float):
            return value
        if isinstance(value, Mapping):
            return self.value(dict(value), depth)
        if isinstance(value, tuple | set | frozenset):
            return self.value(list(value), depth)
        return scrub_text(text_of(value))
